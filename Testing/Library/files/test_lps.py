from __future__ import annotations

import numpy as np

from CFSegmenterLib.files.lps import affine_from_lps, lps_from_affine
from Testing.Library.files.scans import an_itk_image, assert_voxels_lie_where_itk_puts_them, every_affine


@every_affine
def test_itk_and_this_library_agree_where_a_voxel_lies(affine, voxels):
    image = an_itk_image(voxels, affine)
    back = affine_from_lps(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    assert_voxels_lie_where_itk_puts_them(back, image)
    np.testing.assert_allclose(back, affine, rtol=1e-12, atol=1e-12)


@every_affine
def test_an_affine_comes_back_from_lps(affine):
    origin, spacing, direction = lps_from_affine(affine)
    assert min(spacing) > 0
    np.testing.assert_allclose(affine_from_lps(origin, spacing, direction), affine, rtol=1e-12, atol=1e-12)
