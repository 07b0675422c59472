"""The maths on one weight tensor: masks, codebooks and quantizers with their gradients."""

from tfcompress.weights.codebook import nearest_centroid, refine_centroids
from tfcompress.weights.mask import kept_count, magnitude_mask
from tfcompress.weights.scale import refine_scale, search_scale
from tfcompress.weights.uniform import lsq_quantize, lsq_scale, max_code, quantize_codes, ste_quantize

__all__ = [
    "kept_count",
    "lsq_quantize",
    "lsq_scale",
    "magnitude_mask",
    "max_code",
    "nearest_centroid",
    "quantize_codes",
    "refine_centroids",
    "refine_scale",
    "search_scale",
    "ste_quantize",
]
