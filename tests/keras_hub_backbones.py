"""A tiny backbone of every family of KerasHub, and a batch of inputs for each."""

import keras
import keras_hub
import numpy as np
from keras_hub.src.models.blip2 import blip2_custom_opt, blip2_qformer, blip2_vision_encoder
from keras_hub.src.models.clip import clip_text_encoder, clip_vision_encoder
from keras_hub.src.models.metaclip_2 import metaclip_2_text_encoder, metaclip_2_vision_encoder
from keras_hub.src.models.siglip import siglip_text_encoder, siglip_vision_encoder

models = keras_hub.models
BATCH, VOCABULARY, LENGTH, IMAGE = 3, 13, 6, (32, 32, 3)
FILLED = (1, 1 / 2, 1 / 6)  # How much of each sequence in the batch is not padding.
LENGTHS = {"points": 1, "labels": 1, "boxes": 1, "masks": 0}  # Of an image's prompts.
SOUND = {"encoder_input_values": 2400, "encoder_padding_mask": 2400}

ENCODER = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 12,
}
STILL = ENCODER | {"dropout": 0.0}
DECODER = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 12,
}
HEAD = {"head_dim": 4}
MIXTURE = {"num_experts": 3, "top_k": 2}
NO_LOSS = {"router_aux_loss_coefficient": 0.0}
PATCHES = {
    "image_shape": IMAGE,
    "patch_size": 8,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
}


def _resnet(image_shape=IMAGE):
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=image_shape,
    )


def _vit(**options):
    return models.ViTBackbone(**PATCHES | {"mlp_dim": 12} | options)


def _hgnet(**options):
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


def _t5gemma():
    return {
        "vocabulary_size": VOCABULARY,
        "tie_word_embeddings": True,
        "sliding_window": 3,
    } | {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {
            "hidden_dim": 8,
            "intermediate_dim": 12,
            "num_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        }.items()
    }


VIT = {
    "patch_size": 8,
    "num_heads": 2,
    "hidden_dim": 8,
    "num_layers": 1,
    "intermediate_dim": 12,
}
SMOL = {
    "vocabulary_size": VOCABULARY,
    "hidden_dim": 16,
    "intermediate_dim": 12,
    "num_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, False],
    "layer_types": ["full_attention", "full_attention"],
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 16,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
}

# Text: encoders, then decoders, then both.
TEXT = {
    "AlbertBackbone": lambda: models.AlbertBackbone(**STILL, embedding_dim=6),
    "BertBackbone": lambda: models.BertBackbone(**STILL),
    "DebertaV3Backbone": lambda: models.DebertaV3Backbone(**STILL, bucket_size=4),
    "DistilBertBackbone": lambda: models.DistilBertBackbone(**STILL),
    "ESMBackbone": lambda: models.ESMBackbone(**STILL),
    "ElectraBackbone": lambda: models.ElectraBackbone(
        VOCABULARY, 1, 2, hidden_dim=8, embedding_dim=6, intermediate_dim=12, dropout=0.0
    ),
    "FNetBackbone": lambda: models.FNetBackbone(VOCABULARY, 1, 8, 12, dropout=0.0),
    "RobertaBackbone": lambda: models.RobertaBackbone(**STILL),
    "RoformerV2Backbone": lambda: models.RoformerV2Backbone(**STILL, head_size=4),
    "XLMRobertaBackbone": lambda: models.XLMRobertaBackbone(**STILL),
    "XLNetBackbone": lambda: models.XLNetBackbone(**STILL),
    "BloomBackbone": lambda: models.BloomBackbone(**STILL),
    "FalconBackbone": lambda: models.FalconBackbone(VOCABULARY, 1, 2, 8, 12),
    "GPT2Backbone": lambda: models.GPT2Backbone(**STILL),
    "GPTNeoXBackbone": lambda: models.GPTNeoXBackbone(**STILL, rotary_percentage=0.5),
    "GemmaBackbone": lambda: models.GemmaBackbone(**DECODER, **HEAD),
    "Gemma3Backbone": lambda: models.Gemma3Backbone(**DECODER, **HEAD, image_size=16),
    "Gemma4Backbone": lambda: models.Gemma4Backbone(**DECODER, **HEAD, image_size=16),
    "Gemma3nBackbone": lambda: models.Gemma3nBackbone(
        text_vocab_size=VOCABULARY,
        text_hidden_size=16,
        num_hidden_layers=2,
        pad_token_id=0,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        intermediate_size=[12, 12],
        hidden_activation="gelu_approximate",
        layer_types=["sliding_attention", "full_attention"],
        sliding_window=3,
        rope_theta=10000.0,
        max_position_embeddings=16,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=4,
        altup_num_inputs=2,
        laurel_rank=2,
    ),
    "GptOssBackbone": lambda: models.GptOssBackbone(**DECODER, **MIXTURE),
    "LlamaBackbone": lambda: models.LlamaBackbone(**DECODER),
    "Llama3Backbone": lambda: models.Llama3Backbone(**DECODER, tie_word_embeddings=True),
    "MistralBackbone": lambda: models.MistralBackbone(**DECODER, sliding_window=3),
    "MixtralBackbone": lambda: models.MixtralBackbone(
        **DECODER, **MIXTURE, router_aux_loss_coef=0.0
    ),
    "OPTBackbone": lambda: models.OPTBackbone(**STILL),
    "Phi3Backbone": lambda: models.Phi3Backbone(**DECODER),
    "QwenBackbone": lambda: models.QwenBackbone(**DECODER),
    "QwenMoeBackbone": lambda: models.QwenMoeBackbone(
        **DECODER, **MIXTURE, moe_intermediate_dim=6, shared_expert_intermediate_dim=6, **NO_LOSS
    ),
    "Qwen3Backbone": lambda: models.Qwen3Backbone(**DECODER, **HEAD),
    "Qwen3MoeBackbone": lambda: models.Qwen3MoeBackbone(
        **DECODER, **MIXTURE, **HEAD, moe_intermediate_dim=6, **NO_LOSS
    ),
    "Qwen3_5Backbone": lambda: models.Qwen3_5Backbone(
        **DECODER,
        head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=4,
        linear_value_head_dim=4,
    ),
    "Qwen3_5MoeBackbone": lambda: models.Qwen3_5MoeBackbone(
        **{k: v for k, v in DECODER.items() if k != "intermediate_dim"},
        **MIXTURE,
        **NO_LOSS,
        head_dim=8,
        moe_intermediate_dim=6,
        shared_expert_intermediate_size=6,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=4,
        linear_value_head_dim=4,
    ),
    "RWKV7Backbone": lambda: models.RWKV7Backbone(
        hidden_size=8,
        head_size=4,
        num_layers=1,
        vocabulary_size=VOCABULARY,
        intermediate_dim=12,
        gate_lora=4,
        mv_lora=4,
        aaa_lora=4,
        decay_lora=4,
    ),
    "SmolLM3Backbone": lambda: models.SmolLM3Backbone(**SMOL),
    "BartBackbone": lambda: models.BartBackbone(**STILL),
    "EdRecBackbone": lambda: models.EdRecBackbone(VOCABULARY, 1, 1, 8, 12, 2),
    "T5Backbone": lambda: models.T5Backbone(**STILL),
    "T5GemmaBackbone": lambda: models.T5GemmaBackbone(**_t5gemma()),
    "T5Gemma2Backbone": lambda: models.T5Gemma2Backbone(**_t5gemma()),
}

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
    "HGNetV2Backbone": _hgnet,
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
    "ResNetBackbone": _resnet,
    "SwinTransformerBackbone": lambda: models.SwinTransformerBackbone(
        IMAGE, embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4, drop_path=0.0
    ),
    "VGGBackbone": lambda: models.VGGBackbone([1, 1], [4, 6], IMAGE),
    "ViTBackbone": _vit,
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

# Of more than one network, or of more than one kind of input.
COMPOSITE = {
    "BASNetBackbone": lambda: models.BASNetBackbone(
        _resnet((None, None, 3)), num_classes=1, image_shape=(64, 64, 3), projection_filters=64
    ),
    "BLIP2Backbone": lambda: models.BLIP2Backbone(
        vision_encoder=blip2_vision_encoder.BLIP2VisionEncoder(
            image_size=16,
            patch_size=8,
            num_layers=1,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=12,
            use_patch_bias=True,
            use_class_token=True,
            use_mha_bias=True,
            use_mlp_bias=True,
            dropout_rate=0.0,
            layer_norm_epsilon=1e-6,
            initializer_range=0.02,
        ),
        qformer=blip2_qformer.BLIP2QFormer(
            num_query_tokens=2,
            num_layers=2,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=12,
            vision_dim=8,
            cross_attention_frequency=2,
            dropout=0.0,
            layer_norm_epsilon=1e-6,
        ),
        language_model=blip2_custom_opt.BLIP2CustomOPT(
            **STILL, num_query_tokens=2, max_sequence_length=16, qformer_hidden_dim=8
        ),
    ),
    "CLIPBackbone": lambda: models.CLIPBackbone(
        clip_vision_encoder.CLIPVisionEncoder(**PATCHES, intermediate_dim=12),
        clip_text_encoder.CLIPTextEncoder(**ENCODER, embedding_dim=8, max_sequence_length=LENGTH),
        projection_dim=6,
    ),
    "DFineBackbone": lambda: models.DFineBackbone(
        backbone=_hgnet(out_features=["stage3", "stage4"]),
        decoder_in_channels=[8, 8],
        encoder_hidden_dim=8,
        num_labels=3,
        num_denoising=0,
        learn_initial_query=False,
        num_queries=4,
        anchor_image_size=IMAGE[:2],
        feat_strides=[16, 32],
        num_feature_levels=2,
        hidden_dim=8,
        encoder_in_channels=[8, 8],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=12,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=12,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=4,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=IMAGE,
        seed=0,
    ),
    "DeepLabV3Backbone": lambda: models.DeepLabV3Backbone(
        _resnet(), "P4", 4, [2, 3], "P2", projection_filters=4, image_shape=IMAGE
    ),
    "DepthAnythingBackbone": lambda: models.DepthAnythingBackbone(
        image_encoder=models.DINOV2Backbone(
            **PATCHES | {"num_layers": 4, "image_shape": (64, 64, 3)},
            intermediate_dim=12,
            position_embedding_shape=(64, 64, 3),
            use_mask_token=False,
            apply_layernorm=True,
        ),
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[4, 4, 4, 4],
        fusion_hidden_dim=4,
        head_hidden_dim=4,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    ),
    "FluxBackbone": lambda: models.FluxBackbone(
        input_channels=4,
        hidden_size=8,
        mlp_ratio=2.0,
        num_heads=2,
        depth=1,
        depth_single_blocks=1,
        axes_dim=[2, 2],
        theta=10000,
        use_bias=True,
        image_shape=(4, 4),
        text_shape=(LENGTH, 6),
        image_ids_shape=(4, 2),
        text_ids_shape=(LENGTH, 2),
        y_shape=(5,),
    ),
    "MetaCLIP2Backbone": lambda: models.MetaCLIP2Backbone(
        metaclip_2_vision_encoder.MetaCLIP2VisionEncoder(**PATCHES, intermediate_dim=12),
        metaclip_2_text_encoder.MetaCLIP2TextEncoder(
            **ENCODER, embedding_dim=8, max_sequence_length=LENGTH
        ),
        projection_dim=6,
    ),
    "MoonshineBackbone": lambda: models.MoonshineBackbone(
        vocabulary_size=VOCABULARY,
        filter_dim=8,
        encoder_num_layers=1,
        decoder_num_layers=1,
        hidden_dim=8,
        intermediate_dim=12,
        encoder_num_heads=2,
        decoder_num_heads=2,
    ),
    "PARSeqBackbone": lambda: models.PARSeqBackbone(
        _vit(use_class_token=False), VOCABULARY, LENGTH, 8, 1, 2, 12, 0.0, 0.0
    ),
    "PaliGemmaBackbone": lambda: models.PaliGemmaBackbone(
        **DECODER, **HEAD, image_size=16, **{f"vit_{k}": v for k, v in VIT.items()}
    ),
    "RetinaNetBackbone": lambda: models.RetinaNetBackbone(
        _resnet((128, 128, 3)), 3, 5, use_p5=False, image_shape=(128, 128, 3)
    ),
    "SAMBackbone": lambda: models.SAMBackbone(
        image_encoder=IMAGES["ViTDetBackbone"](),
        prompt_encoder=keras_hub.layers.SAMPromptEncoder(
            hidden_size=8,
            image_embedding_size=(4, 4),
            input_image_size=IMAGE[:2],
            mask_in_channels=4,
        ),
        mask_decoder=keras_hub.layers.SAMMaskDecoder(
            num_layers=1,
            hidden_size=8,
            intermediate_dim=6,
            num_heads=2,
            embedding_dim=8,
            num_multimask_outputs=2,
            iou_head_depth=2,
            iou_head_hidden_dim=4,
        ),
    ),
    "SegFormerBackbone": lambda: models.SegFormerBackbone(IMAGES["MiTBackbone"](), 4),
    "SigLIPBackbone": lambda: models.SigLIPBackbone(
        siglip_vision_encoder.SigLIPVisionEncoder(**PATCHES, intermediate_dim=12),
        siglip_text_encoder.SigLIPTextEncoder(
            **ENCODER, embedding_dim=8, max_sequence_length=LENGTH
        ),
    ),
    "VideoPrismBackbone": lambda: models.VideoPrismBackbone(
        num_frames=2,
        patch_size=8,
        hidden_dim=8,
        intermediate_dim=12,
        num_heads=2,
        num_spatial_layers=1,
        num_temporal_layers=1,
        num_auxiliary_layers=1,
        vocabulary_size=VOCABULARY,
        num_text_layers=1,
        image_shape=(16, 16, 3),
    ),
    "WhisperBackbone": lambda: models.WhisperBackbone(
        **ENCODER, num_mels=5, max_encoder_sequence_length=16, max_decoder_sequence_length=16
    ),
}

BACKBONES = TEXT | IMAGES | COMPOSITE
# The two bases; what calls other models that are larger than these; synonyms.
LEFT_OUT = {
    "Backbone",
    "ESM2Backbone",
    "FeaturePyramidBackbone",
    "Qwen2Backbone",
    "SAM3PromptableConceptBackbone",
    "SmolLMBackbone",
    "StableDiffusion3Backbone",
}
FLOAT32_ONLY = {
    "MixtralBackbone",
    "Qwen3MoeBackbone",
    "Qwen3_5Backbone",
    "Qwen3_5MoeBackbone",
    "QwenMoeBackbone",
}


def inputs_of(backbone, seed=0):
    """Returns a batch for a backbone, by the names of its inputs; padding is masked."""
    rng = np.random.default_rng(seed)
    lengths = LENGTHS | (SOUND if isinstance(backbone, models.MoonshineBackbone) else {})

    def make(name, symbol):
        length = lengths.get(name, LENGTH)
        shape = [BATCH, *(length if n is None else n for n in symbol.shape[1:])]
        padding = np.arange(shape[-1]) < shape[-1] * np.reshape(FILLED, (BATCH, 1))
        if "padding_mask" in name:
            return padding.astype(symbol.dtype)
        if "token_ids" in name:
            return (rng.integers(1, VOCABULARY, shape) * padding).astype(symbol.dtype)
        if "segment_ids" in name:
            return rng.integers(0, 2, shape).astype(symbol.dtype)
        if name == "position_ids":
            return np.tile(np.arange(shape[-1], dtype=symbol.dtype), (BATCH, 1))
        if name == "labels":  # Of points: in the background, in the foreground.
            return rng.integers(0, 2, shape).astype(symbol.dtype)
        if name == "response_mask":  # The latter half is to be generated.
            return (padding & (np.arange(shape[-1]) >= LENGTH // 2)).astype(symbol.dtype)
        if "int" in symbol.dtype or symbol.dtype == "bool":
            raise ValueError(f"Expected an input that is known. Received: {name} {symbol}")
        return rng.normal(size=shape).astype(symbol.dtype)

    inputs = backbone.input
    if isinstance(inputs, dict):
        return {name: make(name, symbol) for name, symbol in inputs.items()}
    if isinstance(inputs, list):
        return [make(symbol.name, symbol) for symbol in inputs]
    return make("images", inputs)


def with_head(backbone, classes=3):
    """Returns a network of one output [batch, classes] on all that a backbone puts out."""
    scores = []
    for x in keras.tree.flatten(backbone.output):
        if x.shape[-1] is None:
            x = keras.ops.expand_dims(x, -1)
        while len(x.shape) > 2:
            x = keras.ops.mean(x, axis=1)
        scores.append(keras.layers.Dense(classes)(x))
    return keras.Model(backbone.input, sum(scores[1:], scores[0]))
