"""A tiny backbone of every family of KerasHub for images."""

from keras_hub import models

IMAGE = (32, 32, 3)
PATCHES = {
    "image_shape": IMAGE,
    "patch_size": 8,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
}


def resnet(image_shape=IMAGE):
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=image_shape,
    )


def vit(**options):
    return models.ViTBackbone(**PATCHES | {"mlp_dim": 12} | options)


def hgnet(**options):
    stages = [[4, 4, 6, 1, 1, 3], [6, 4, 8, 1, 1, 3], [8, 4, 8, 1, 1, 3], [8, 4, 8, 1, 1, 3]]
    return models.HGNetV2Backbone(
        depths=[1, 1, 1, 1],
        embedding_size=4,
        hidden_sizes=[6, 8, 8, 8],
        stem_channels=[3, 4, 4],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[[*s[:3], *s[3:]] for s in stages],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        image_shape=IMAGE,
        **options,
    )


IMAGES = {
    "CSPNetBackbone": lambda: models.CSPNetBackbone(
        stem_filters=4,
        stem_kernel_size=3,
        stem_strides=2,
        stackwise_depth=[1, 1],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[6, 8],
        block_type="dark_block",
        stage_type="dark",
        image_shape=IMAGE,
    ),
    "DINOV2Backbone": lambda: models.DINOV2Backbone(
        **PATCHES, intermediate_dim=12, position_embedding_shape=IMAGE, use_mask_token=False
    ),
    "DINOV3Backbone": lambda: models.DINOV3Backbone(
        **PATCHES, intermediate_dim=12, num_register_tokens=2, use_mask_token=False
    ),
    "DeiTBackbone": lambda: models.DeiTBackbone(**PATCHES, intermediate_dim=12),
    "DenseNetBackbone": lambda: models.DenseNetBackbone([1, 1], IMAGE, growth_rate=4),
    "EfficientNetBackbone": lambda: models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 8],
        stackwise_expansion_ratios=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "fused"],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_force_input_filters=[0, 0],
        stackwise_nores_option=[False, False],
        num_features=8,
        dropout=0.0,
        input_shape=IMAGE,
    ),
    "HGNetV2Backbone": hgnet,
    "MiTBackbone": lambda: models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.0,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[4, 8],
        image_shape=IMAGE,
    ),
    "MobileNetBackbone": lambda: models.MobileNetBackbone(
        stackwise_expansion=[[8, 8], [8]],
        stackwise_num_blocks=[2, 1],
        stackwise_num_filters=[[8, 8], [8]],
        stackwise_kernel_size=[[3, 3], [5]],
        stackwise_num_strides=[[2, 1], [2]],
        stackwise_se_ratio=[[None, 0.25], [0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"]],
        stackwise_padding=[[1, 1], [2]],
        output_num_filters=8,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=8,
        input_num_filters=8,
        image_shape=IMAGE,
    ),
    "MobileNetV5Backbone": lambda: models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [8, 8]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[2.0], [2.0, 2.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [5, 5]],
        stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, 0]],
        stackwise_key_dims=[[0], [0, 0]],
        stackwise_value_dims=[[0], [0, 0]],
        stackwise_kv_strides=[[0], [0, 0]],
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
        stem_size=4,
        num_features=8,
        image_shape=IMAGE,
    ),
    "ResNetBackbone": resnet,
    "SwinTransformerBackbone": lambda: models.SwinTransformerBackbone(
        IMAGE, embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4, drop_path=0.0
    ),
    "VGGBackbone": lambda: models.VGGBackbone([1, 1], [4, 6], IMAGE),
    "ViTBackbone": vit,
    "ViTDetBackbone": lambda: models.ViTDetBackbone(
        hidden_size=8,
        num_layers=2,
        intermediate_dim=12,
        num_heads=2,
        global_attention_layer_indices=[1],
        image_shape=IMAGE,
        patch_size=8,
        num_output_channels=8,
        window_size=2,
    ),
    "XceptionBackbone": lambda: models.XceptionBackbone(
        [[4, 6], [6, 8]], [False, True], image_shape=(64, 64, 3)
    ),
}
