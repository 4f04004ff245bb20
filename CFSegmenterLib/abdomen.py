"""An abdomen that the project draws itself.

The picture imitates an axial, fat-suppressed T2-weighted MR of the upper abdomen. Its geometry is written
down in millimeters in a frame whose axes point right, anterior and superior, with the origin near the body's
axis at the level of the kidneys. A smooth random warp of that frame and random sizes, places and intensities
make every seed another person.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .phantom import LEFT_KIDNEY, LIVER, NAMES, RIGHT_KIDNEY, SPLEEN, Phantom

FIELD_OF_VIEW = 320.0  # mm, in plane
SHORTEST, TALLEST = 185.0, 225.0  # mm, from the lowest to the highest slice
STAGE = (200.0, 200.0, 160.0)  # mm to either side of the frame's origin: where the noise is drawn
MIDDLE_SLICE = 14.0  # mm above the frame's origin, on average

AIR, LUNG, FAT, MUSCLE, WALL, MARROW, DISC, CSF, CORD = (
    4.0,
    22.0,
    90.0,
    165.0,
    150.0,
    260.0,
    160.0,
    640.0,
    340.0,
)


def draw_abdomen(
    seed: int,
    spacing: tuple[float, float, float] = (1.6, 1.6, 5.0),
    shape: tuple[int, int, int] | None = None,
) -> Phantom:
    """Draw the abdomen of the person with this number; the same arguments always give the same arrays.

    The grid changes how the person is sampled, not who it is.

    Args:
        seed: a non-negative integer.
        spacing: mm per voxel along right, anterior, superior.
        shape: voxels per axis; by default a field of view of 320 x 320 x 185 to 225 mm.

    Raises:
        ValueError: a spacing that is not positive and finite, or a shape without voxels.
    """
    rng = np.random.default_rng(seed)
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (3,) or not np.all(np.isfinite(step)) or np.any(step <= 0):
        raise ValueError(f"The spacing must be three positive numbers of millimeters, not {spacing}.")
    extent = np.array([FIELD_OF_VIEW, FIELD_OF_VIEW, rng.uniform(SHORTEST, TALLEST)])
    size = np.maximum(1, np.round(extent / step)).astype(int) if shape is None else np.asarray(shape, dtype=int)
    if size.shape != (3,) or np.any(size < 1):
        raise ValueError(f"The shape must be three positive numbers of voxels, not {shape}.")
    middle = np.array([rng.normal(0, 4), rng.normal(0, 4), MIDDLE_SLICE + rng.normal(0, 6)])
    origin = middle - step * (size - 1) / 2

    space = _Space(rng, origin, step, tuple(size))
    painting = _Painting(rng, space)
    painting.paint()
    image = _acquire(rng, painting.signal, space)

    affine = np.diag([*step, 1.0])
    affine[:3, 3] = origin + rng.normal(0, 20, size=3)  # the table stands elsewhere for every patient
    return Phantom(image, painting.labels, dict(NAMES), affine)


class _Space:
    """The warped frame: for every voxel, where it lies in the anatomy of the book (mm, float32)."""

    def __init__(
        self, rng: np.random.Generator, origin: np.ndarray, step: np.ndarray, shape: tuple[int, int, int]
    ) -> None:
        self.shape = shape
        self.step = step
        self.axes = [(origin[d] + step[d] * np.arange(shape[d])).astype(np.float32) for d in range(3)]
        stretch = rng.uniform(0.96, 1.07, 3).astype(np.float32)
        grid = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.x, self.y, self.z = (
            grid[d] * stretch[d] + 4.0 * self.noise(rng, 60.0) + 1.4 * self.noise(rng, 25.0) for d in range(3)
        )

    def noise(self, rng: np.random.Generator, length: float) -> np.ndarray:
        """Smooth noise of unit spread that varies over about `length` mm.

        It is drawn for the whole stage whatever the grid, so that a person looks the same on every grid.
        """
        counts = [int(np.ceil(2 * half / length)) + 4 for half in STAGE]
        field = rng.standard_normal(counts).astype(np.float32)
        for axis, (half, count) in enumerate(zip(STAGE, counts, strict=True)):
            position = np.clip(1.5 + (self.axes[axis] + half) / length, 1, count - 2)
            field = np.moveaxis(np.tensordot(_spline(position, count), field, (1, axis)), 0, axis)
        return field / 0.33  # the spread that three passes of a cubic B-spline leave of unit noise

    def window(self, center: np.ndarray, reach: float) -> tuple[slice, slice, slice]:
        """The voxels whose unwarped place is within `reach` mm of a point: all that a small organ needs."""
        parts = []
        for axis, middle in zip(self.axes, center, strict=True):
            first, last = np.searchsorted(axis, [middle - reach, middle + reach])
            parts.append(slice(int(first), int(last)))
        return tuple(parts)


def _spline(position: np.ndarray, count: int) -> np.ndarray:
    """Uniform cubic B-spline weights, (positions, count)."""
    distance = np.abs(position[:, None] - np.arange(count)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _inside_all(*distances: np.ndarray, rounding: float) -> np.ndarray:
    """The intersection of half spaces and the like, its edges rounded; distances in mm, positive outside."""
    total = sum(np.exp(np.clip(distance / rounding, -30, 3)) for distance in distances)
    return total < 1


def _rotation(rng: np.random.Generator, degrees: tuple[float, float, float], spread: float) -> np.ndarray:
    """A rotation about x, then y, then z, each angle with a random part."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(np.asarray(degrees) + rng.normal(0, spread, 3))):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


class _Painting:
    """Paints tissue over tissue, from the skin inwards; `signal` is the picture without noise."""

    def __init__(self, rng: np.random.Generator, space: _Space) -> None:
        self.rng = rng
        self.space = space
        self.signal = np.full(space.shape, AIR, dtype=np.float32)
        self.labels = np.zeros(space.shape, dtype=np.uint8)
        self.fine = space.noise(rng, 6.0)
        self.coarse = space.noise(rng, 16.0)

    def paint(self) -> None:
        self._torso()
        self._spine()
        self._kidneys()
        self._pancreas_and_vessels()
        self._bowel()
        self._stomach()
        self._liver()
        self._spleen()
        self._chest()
        for label in NAMES:  # what was painted later may have cut a crumb off
            mask = self.labels == label
            self.labels[mask & ~_largest(mask)] = 0

    def local(
        self, center: tuple[float, float, float], reach: float, rotation: np.ndarray | None = None
    ) -> tuple[tuple[slice, slice, slice], np.ndarray, np.ndarray, np.ndarray]:
        """A window around a place, and the coordinates (mm) of its voxels in an organ's own axes."""
        where = self.space.window(np.asarray(center), 1.15 * reach + 30)
        offsets = [axis[where] - c for axis, c in zip((self.space.x, self.space.y, self.space.z), center, strict=True)]
        if rotation is None:
            return where, *offsets
        turned = [sum(np.float32(rotation[d, axis]) * offsets[d] for d in range(3)) for axis in range(3)]
        return where, *turned

    def fill(self, where: tuple[slice, slice, slice], inside: np.ndarray, value: float, texture: float = 0.0) -> None:
        """Paint a region with a mean signal and a relative texture; it also erases the labels below."""
        tissue = value
        if texture:
            grain = 0.6 * self.fine[where][inside] + 0.4 * self.coarse[where][inside]
            tissue = np.maximum(value * (1 + texture * grain), 2)
        self.signal[where][inside] = tissue
        self.labels[where][inside] = 0

    def blob(
        self,
        center: tuple[float, float, float],
        radii: tuple[float, float, float],
        value: float,
        texture: float = 0.0,
        rotation: np.ndarray | None = None,
    ) -> None:
        where, x, y, z = self.local(center, max(radii), rotation)
        self.fill(where, (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1, value, texture)

    def _torso(self) -> None:
        rng, space = self.rng, self.space
        x, y, z = space.x, space.y, space.z
        self.half_width = rng.uniform(139, 149)
        self.half_depth = rng.uniform(104, 116)
        fat = rng.uniform(4, 13)
        roundness = rng.uniform(2.2, 2.6)
        radius = (np.abs(x / self.half_width) ** roundness + np.abs(y / self.half_depth) ** roundness) ** (
            1 / roundness
        )
        depth = (radius - 1) * (self.half_depth + 12)  # about mm, negative inside
        everywhere = (slice(None),) * 3
        self.skin_depth = depth
        self.fill(everywhere, depth < 0, FAT * 1.5)
        self.fill(everywhere, depth < -2, FAT, 0.15)
        self.fill(everywhere, depth < -fat, WALL, 0.25)
        # Ribs and the layers of the wall: thin oblique bands.
        bands = np.sin((z + 0.45 * y) * (2 * np.pi / 27)) > 0.55
        self.fill(everywhere, (depth < -fat - 3) & (depth > -fat - 9) & bands & (z > 0), MARROW * 0.7)
        wall = rng.uniform(8, 11)
        # The cavity: thick muscles behind, so that its back wall is flatter than the skin.
        self.cavity = np.logaddexp((depth + fat + wall) / 6, (-84 - y) / 6) * 6
        self.fill(everywhere, self.cavity < 0, FAT, 0.35)
        strands = (np.abs(self.coarse) < 0.07) & (self.fine > 0) & (self.cavity < -5)
        self.fill(everywhere, strands, FAT * 2.4)
        # The diaphragm: two domes, the right one higher, falling off towards the wall and the back.
        top = rng.normal(101, 5)
        right = top - ((x - 62) / 62) ** 2 * 26 - ((y - 15) / 75) ** 2 * 34
        left = top - rng.uniform(8, 16) - ((x + 62) / 62) ** 2 * 26 - ((y - 10) / 75) ** 2 * 34
        self.above_diaphragm = z - np.logaddexp(right / 8, left / 8) * 8

    def _spine(self) -> None:
        rng, space = self.rng, self.space
        for side in (-1, 1):
            self.blob((side * 29, -82, 20), (33, 21, 600), FAT * 0.5, 0.2)
            self.blob((side * 29, -82, 20), (31, 19, 600), MUSCLE, 0.35)
            where, x, y, z = self.local((side * 37, -46, -95), 75, None)
            self.fill(where, (x / 19) ** 2 + (y / 19) ** 2 + (z / 75) ** 2 < 1, MUSCLE * 0.9, 0.12)
        middle = slice(*np.searchsorted(space.axes[0], [-75.0, 75.0]))
        where = (middle, slice(None), slice(None))
        x, y, z = space.x[where], space.y[where], space.z[where]
        phase = np.mod(z + rng.uniform(0, 34), 34.0)
        disc = phase < 8
        waist = 1 + 0.1 * np.abs(phase - 21) / 13
        body = np.sqrt((x / (22 * waist)) ** 2 + ((y + 46) / (17 * waist)) ** 2)
        self.fill(where, body < 1.1, 20)
        self.fill(where, body < 1, MARROW * rng.uniform(0.85, 1.2), 0.12)
        self.fill(where, (body < 1) & disc, DISC, 0.2)
        self.fill(where, (body < 0.55) & disc, DISC * 2.0, 0.2)
        arch = np.sqrt((x / 17) ** 2 + ((y + 71) / 13) ** 2)
        self.fill(where, arch < 1, 45, 0.2)
        canal = np.sqrt((x / 10.5) ** 2 + ((y + 70) / 8) ** 2)
        self.fill(where, canal < 1, CSF)
        cord = np.sqrt((x / 5) ** 2 + ((y + 71) / 4) ** 2)
        self.fill(where, cord < 1, CORD)
        process = (np.abs(x) < 3.5) & (y < -80) & (self.skin_depth[where] < -14) & (np.mod(phase, 34) > 12)
        self.fill(where, process, MARROW * 0.6)
        wings = (np.abs(np.abs(x) - 24) < 14) & (np.abs(y + 66 + 0.15 * np.abs(x)) < 3.5) & (np.abs(phase - 20) < 5)
        self.fill(where, wings, MARROW * 0.5)
        self.near_spine = np.full(space.shape, 100, dtype=np.float32)
        self.near_spine[where] = np.minimum((body - 1) * 19, (arch - 1) * 15)

    def _kidneys(self) -> None:
        rng = self.rng
        bright = rng.uniform(0.88, 1.1)
        lowered = rng.uniform(6, 18)
        self.near_kidney = np.full(self.space.shape, 100, dtype=np.float32)
        for label, side in ((RIGHT_KIDNEY, 1), (LEFT_KIDNEY, -1)):
            center = (
                side * rng.normal(60, 3), rng.normal(-50, 3), rng.normal(2, 4) - (lowered if side > 0 else 0)
            )  # fmt: skip
            radii = np.array([rng.normal(28, 1.5), rng.normal(25, 1.5), rng.normal(52, 3)])
            # The upper pole leans to the spine and backwards; the hilum looks forwards and to the middle.
            turn = _rotation(rng, (-10, -side * 14, -side * 28), 3)
            where, x, y, z = self.local(center, radii.max(), turn)
            x = side * x + 7 * (z / radii[2]) ** 2 - 3  # bent like a bean, its hollow towards the middle
            bean = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
            hilum = np.sqrt(((x + radii[0]) / (0.42 * radii[0])) ** 2 + (y / 7) ** 2 + (z / 15) ** 2)
            sinus = np.sqrt(((x + 0.4 * radii[0]) / (0.5 * radii[0])) ** 2 + (y / 7) ** 2 + (z / 22) ** 2)
            inside = (bean < 1) & (hilum > 1)
            self.fill(where, bean < 1.12, FAT * 0.7, 0.2)
            self.fill(where, inside, 590 * bright, 0.07)
            pyramids = self.fine[where] + 0.6 * np.cos(7 * np.arctan2(y, x) + z / 3)
            self.fill(where, inside & (bean > 0.5) & (bean < 0.84) & (pyramids > 0.1), 760 * bright, 0.05)
            hollow = inside & (sinus + 0.22 * self.fine[where] < 0.95)
            self.fill(where, hollow, 260, 0.6)
            self.fill(where, hollow & (np.abs(y) < 3.5) & (self.coarse[where] > -0.3), 720 * bright)
            self.labels[where][inside] = label
            self.near_kidney[where] = np.minimum(self.near_kidney[where], (bean - 1) * radii[:2].min())
            # Renal vessels and the adrenal gland, towards the great vessels.
            for shift in (-5, 5):
                ends = (
                    (center[0] - side * 20, center[1] + 10, center[2] + shift),
                    (side * 14, -20, center[2] + 12),
                )
                self._tube(np.asarray(ends), 4.0, 60)
            adrenal = (side * 36, -34, center[2] + 52)
            self.blob(adrenal, (9, 3, 10), 330, 0.1, _rotation(rng, (0, 0, side * 40), 8))

    def _tube(self, points: np.ndarray, radius: float, value: float, within: int = 0) -> None:
        """Paint a vessel along a polyline (mm), tapering to half its radius, only inside one label."""
        low, high = points.min(0), points.max(0)
        middle = (low + high) / 2
        where, x, y, z = self.local(tuple(middle), float((high - low).max() / 2 + radius))
        nearest = np.full(x.shape, np.inf, dtype=np.float32)
        corners = (points - middle).astype(np.float32)
        for part, (start, end) in enumerate(pairwise(corners)):
            way = end - start
            dx, dy, dz = x - start[0], y - start[1], z - start[2]
            along = np.clip((dx * way[0] + dy * way[1] + dz * way[2]) / max(float(way @ way), 1e-6), 0, 1)
            size = radius * (1 - 0.5 * (part + along) / (len(points) - 1))
            distance = (dx - along * way[0]) ** 2 + (dy - along * way[1]) ** 2 + (dz - along * way[2]) ** 2
            np.minimum(nearest, distance / size**2, out=nearest)
        inside = (nearest < 1) & (self.labels[where] == within)
        self.signal[where][inside] = value  # a vessel belongs to the organ it runs in

    def _pancreas_and_vessels(self) -> None:
        rng = self.rng
        arc = np.array([(38, -2, 0), (28, 8, 14), (0, 4, 22), (-30, -4, 30), (-62, -26, 40)], dtype=float)
        arc += rng.normal(0, 3, arc.shape)
        self._tube(arc, rng.uniform(12, 15), rng.uniform(280, 360))
        for center, radius in (((-9, -20, 0), 10.5), ((21, -18, 0), 11.5)):
            self.blob((*center[:2], 20), (radius, radius, 600), 220, 0.1)
            self.blob((*center[:2], 20), (radius - 2, radius - 2, 600), rng.uniform(25, 70), 0.4)
        for name_height in (25.0, 8.0):
            self._tube(np.array([(-8, -12, name_height), (-4, 8, name_height - 8), (0, 14, -60)]), 5, 40)

    def _bowel(self) -> None:
        rng = self.rng
        bright = rng.uniform(0.6, 1.0)
        # The colon: gas and stool at both flanks.
        for side, height in ((1, -70), (-1, -45)):
            for step in range(6):
                place = (side * (98 + rng.normal(0, 5)), 5 + rng.normal(0, 6), height - 34 + step * 16)
                if side > 0 and place[2] > -35:
                    continue
                radius = rng.uniform(16, 24)
                self._loop(place, (radius, radius * 1.2, radius), rng.uniform(90, 330), 0.9)
        for _ in range(75):
            place = (rng.uniform(-85, 70), rng.uniform(-5, 78), rng.uniform(-110, 14))
            radii = tuple(rng.uniform(9, 18, 3) * (1.5, 0.9, 1))
            value = bright * (rng.uniform(520, 930) if rng.random() < 0.6 else rng.uniform(130, 330))
            self._loop(place, radii, value, 0.2)

    def _loop(self, center: tuple[float, float, float], radii: tuple[float, ...], value: float, texture: float) -> None:
        where, x, y, z = self.local(center, max(radii), _rotation(self.rng, (0, 0, 0), 30))
        radius = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2) + 0.07 * self.fine[where]
        free = (self.cavity[where] < -4) & (self.labels[where] == 0) & (self.near_spine[where] > 18)
        free &= self.near_kidney[where] > 3
        self.fill(where, (radius < 1.1) & free, 190)
        self.fill(where, (radius < 0.92) & free, value, texture)

    def _stomach(self) -> None:
        rng = self.rng
        self.stomach = np.full(self.space.shape, 100, dtype=np.float32)
        center = (-50 + rng.normal(0, 5), 22 + rng.normal(0, 5), 56 + rng.normal(0, 4))
        radii = rng.uniform(0.8, 1.1) * np.array([33, 40, 44])
        where, x, y, z = self.local(center, 62, _rotation(rng, (25, 0, 15), 6))
        fundus = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
        antrum = np.sqrt(((x - 38) / 40) ** 2 + ((y - 22) / 16) ** 2 + ((z + 26) / 17) ** 2)
        wall = (np.minimum(fundus, antrum) - 1 + 0.04 * self.fine[where]) * 26
        free = (self.cavity[where] < -4) & (self.above_diaphragm[where] < -5) & (self.labels[where] == 0)
        content = rng.choice([rng.uniform(650, 950), rng.uniform(220, 420)])
        self.fill(where, free & (wall < 2), 230, 0.1)
        self.fill(where, free & (wall < -3), content, rng.uniform(0.05, 0.25))
        if rng.random() < 0.3:  # gas gathers in front
            self.fill(where, free & (wall < -3) & (self.space.y[where] > center[1] + rng.uniform(8, 25)), 15)
        self.stomach[where] = wall

    def _liver(self) -> None:
        rng, space = self.rng, self.space
        x, y, z = space.x, space.y, space.z
        edge = rng.normal(-46, 9)
        tip = rng.normal(-42, 14)
        shallow = np.clip((95 - x) / 150, -0.3, 1.3)
        below = edge + 108 * shallow**1.0 - 0.18 * (y - 10) - z
        behind = np.float32(-22) + 0.48 * (38 - x) - y  # the left lobe lies in front only
        behind = np.where(x < 38, behind, np.float32(-95) + 1.9 * (73 - x).clip(0, None) - y)
        inside = _inside_all(
            self.cavity + 2, self.above_diaphragm + 3, 0.8 * below, 0.8 * behind, tip - x, rounding=5.0
        )
        inside &= (self.near_spine > 9) & (self.near_kidney > 3.5) & (self.stomach > 1)
        vein = ((x - 21) / 13) ** 2 + ((y + 18) / 13) ** 2 < 1
        fissure = (np.abs(x - 6 - 0.25 * (y - 30) - 2 * self.coarse) < 1.2) & (y > 45) & (z < 46)  # falciform ligament
        inside &= ~vein & ~fissure
        everywhere = (slice(None),) * 3
        value = rng.uniform(270, 400)
        inside = _largest(inside)
        self.fill(everywhere, inside, value, 0.06)
        self.labels[inside] = LIVER
        # Vessels from the porta, bright as in T2, and the gallbladder below.
        gate = np.array([30.0, 6.0, 34.0])
        for _ in range(26):
            goal = np.array([rng.uniform(-10, 118), rng.uniform(-60, 75), rng.uniform(-5, 88)])
            bend = (gate + goal) / 2 + rng.normal(0, 9, 3)
            branch = np.array([gate + rng.normal(0, 3, 3), bend, goal])
            self._tube(branch, rng.uniform(2.0, 3.6), value * rng.uniform(1.3, 1.9), LIVER)
        cava = (22.0, -10.0, 84.0)
        for goal in ((75.0, 35.0, 55.0), (25.0, 48.0, 60.0), (85.0, -25.0, 62.0)):
            trunk = np.array([cava, np.add(goal, cava) / 2 + rng.normal(0, 4, 3), goal])
            self._tube(trunk, 4.5, value * 0.45, LIVER)
        if rng.random() < 0.85:
            low = edge + 108 * (95 - 52) / 150 - 4
            turn = _rotation(rng, (30, 0, 0), 10)
            self.blob(
                (52 + rng.normal(0, 4), 34 + rng.normal(0, 5), low),
                (13, 13, 26),
                rng.uniform(700, 980),
                0.03,
                turn,
            )

    def _spleen(self) -> None:
        rng = self.rng
        big = rng.uniform(0.88, 1.2)
        center = (-91.0, -36.0 + rng.normal(0, 3), 54.0 + rng.normal(0, 5))
        where, x, y, z = self.local(center, 70, _rotation(rng, (-18, 0, 10), 4))
        outer = (np.sqrt((x / (46 * big)) ** 2 + (y / (62 * big)) ** 2 + (z / (54 * big)) ** 2) - 1) * 40
        inner = (1 - np.sqrt(((x - 48) / 38) ** 2 + ((y - 38) / 60) ** 2 + (z / 90) ** 2)) * 40
        inside = _inside_all(self.cavity[where] + 3, self.above_diaphragm[where] + 4, outer, inner, rounding=3.0)
        inside &= (self.near_kidney[where] > 3) & (self.labels[where] == 0) & (self.stomach[where] > 2)
        inside = _largest(inside)
        self.fill(where, inside, rng.uniform(520, 760), 0.05)
        self.labels[where][inside] = SPLEEN

    def _chest(self) -> None:
        space = self.space
        x, y, z = space.x, space.y, space.z
        everywhere = (slice(None),) * 3
        above = (self.above_diaphragm > 0) & (self.cavity < 2) & (self.labels == 0) & (self.near_spine > 3)
        great = ((x + 9) / 12) ** 2 + ((y + 20) / 12) ** 2 < 1
        cava = ((x - 21) / 12) ** 2 + ((y + 18) / 12) ** 2 < 1
        self.fill(everywhere, above & ~great & ~cava, LUNG, 0.7)
        threads = above & (np.abs(self.coarse) < 0.05) & (self.fine > 0.2)
        self.fill(everywhere, threads & ~great, LUNG * 4)
        heart = ((x + 22) / 52) ** 2 + ((y - 30) / 40) ** 2 + ((z - 128) / 42) ** 2
        self.fill(everywhere, above & (heart < 1), 150, 0.5)
        self.fill(everywhere, above & (heart < 0.6), 70, 0.9)


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces == sizes.argmax()


def _acquire(rng: np.random.Generator, signal: np.ndarray, space: _Space) -> np.ndarray:
    """What the scanner makes of it: blur, uneven coils, fading slices, Rician noise; int16."""
    from scipy import ndimage

    blur = [
        rng.uniform(0.9, 1.25) / space.step[0],
        rng.uniform(0.9, 1.25) / space.step[1],
        1.6 / space.step[2],
    ]
    picture = ndimage.gaussian_filter(signal, blur)
    x, y, z = np.meshgrid(*space.axes, indexing="ij", sparse=True)
    coils = 0.85 + 0.25 * np.minimum((x / 150) ** 2 + (y / 110) ** 2, 1.5)
    fading = 1 / (1 + np.exp((z - rng.uniform(105, 130)) / 14))
    picture = picture * coils * (0.35 + 0.65 * fading) * np.exp(0.1 * space.noise(rng, 110.0))
    sigma = rng.uniform(6, 14)
    noisy = picture + rng.normal(0, sigma, picture.shape)
    return np.round(np.hypot(noisy, rng.normal(0, sigma, picture.shape))).astype(np.int16)
