"""PyTorch's ops that count nothing: they move, make or draw elements, or only look at a tensor.

Choosing by position or by index is a copy. Drawing random numbers is no operation on values (comparing a draw with p is: see
`bernoulli`). Conversions of dtype are copies.
"""

from __future__ import annotations

_MADE = (
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted", "_efficientzerotensor"),
    *("zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones", "full", "full_like", "new_full", "fill", "zero", "eye"),
    *("arange", "linspace", "scalar_tensor", "tril_indices", "triu_indices", "range"),
    *(
        "rand",
        "rand_like",
        "randn",
        "randn_like",
        "randint",
        "randint_like",
        "randperm",
        "normal",
        "uniform",
        "random",
        "normal_functional",
    ),
    *("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window", "poisson", "binomial"),
    *("_standard_gamma", "_sample_dirichlet"),
    *("exponential", "multinomial", "geometric", "log_normal", "cauchy"),
)

_MOVED = (
    *("clone", "copy", "_to_copy", "_copy_from", "_copy_from_and_resize", "contiguous", "detach", "alias", "lift", "lift_fresh", "to"),
    *("_unsafe_view", "_reshape_copy", "_reshape_alias", "reshape", "view_copy", "expand_copy", "permute_copy", "as_strided_copy"),
    *("slice_copy", "select_copy", "transpose_copy", "t_copy", "unsqueeze_copy", "squeeze_copy", "split_with_sizes_copy", "split_copy"),
    *("unsqueeze", "squeeze", "transpose", "t", "swapaxes", "as_strided", "resize", "resize_as", "set", "detach_copy"),
    *(
        "cat",
        "stack",
        "repeat",
        "repeat_interleave",
        "roll",
        "flip",
        "rot90",
        "tril",
        "triu",
        "diag_embed",
        "tile",
        "_pack_padded_sequence",
    ),
    *("gather", "index", "_unsafe_index", "index_select", "embedding", "take", "masked_select", "masked_scatter"),
    *("index_copy", "index_fill", "scatter", "put", "one_hot", "slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter"),
    *("select_backward", "slice_backward", "diagonal_backward", "index_select_backward", "value_selecting_reduction_backward"),
    *("masked_scatter_backward", "constant_pad_nd", "im2col", "unfold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("native_channel_shuffle", "_unsafe_masked_index", "replication_pad1d", "replication_pad2d", "replication_pad3d"),
    *("reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "_pin_memory", "complex", "view_as_complex", "view_as_real", "conj"),
    *("_conj_physical", "conj_physical", "real", "imag", "unbind_copy", "unbind", "split", "split_with_sizes", "chunk"),
    *(
        "unsafe_split",
        "unsafe_split_with_sizes",
        "unsafe_chunk",
        "_sparse_coo_tensor_with_dims_and_tensors",
        "max_unpool2d",
        "max_unpool3d",
    ),
)

_LOOKED_AT = (
    *("_local_scalar_dense", "item", "is_nonzero", "is_pinned", "is_same_size", "_fused_sdp_choice", "record_stream", "size", "stride"),
    *("numel", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset", "storage_offset", "dim", "is_contiguous"),
    *("_has_same_storage_numel", "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "_version", "is_set_to", "_is_zerotensor"),
    "_linalg_check_errors",
)

COPIES = frozenset((*_MADE, *_MOVED, *_LOOKED_AT))
