"""A tiny backbone of every family of KerasHub, and a batch of inputs for each."""

import keras
import keras_hub
import numpy as np
from keras_hub import models
from keras_hub.src.models.blip2 import blip2_custom_opt, blip2_qformer, blip2_vision_encoder
from keras_hub.src.models.clip import clip_text_encoder, clip_vision_encoder
from keras_hub.src.models.metaclip_2 import metaclip_2_text_encoder, metaclip_2_vision_encoder
from keras_hub.src.models.siglip import siglip_text_encoder, siglip_vision_encoder

from tests.keras_hub_images import IMAGE, IMAGES, PATCHES, hgnet, resnet, vit
from tests.keras_hub_text import DECODER, ENCODER, HEAD, STILL, TEXT, VOCABULARY

BATCH, LENGTH = 3, 6
FILLED = (1, 1 / 2, 1 / 6)  # How much of each sequence in the batch is not padding.
LENGTHS = {"points": 1, "labels": 1, "boxes": 1, "masks": 0}  # Of an image's prompts.
SOUND = {"encoder_input_values": 2400, "encoder_padding_mask": 2400}
VIT = {
    "patch_size": 8,
    "num_heads": 2,
    "hidden_dim": 8,
    "num_layers": 1,
    "intermediate_dim": 12,
}
# Of more than one network, or of more than one kind of input.
COMPOSITE = {
    "BASNetBackbone": lambda: models.BASNetBackbone(
        resnet((None, None, 3)), num_classes=1, image_shape=(64, 64, 3), projection_filters=64
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
        backbone=hgnet(out_features=["stage3", "stage4"]),
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
        resnet(), "P4", 4, [2, 3], "P2", projection_filters=4, image_shape=IMAGE
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
        vit(use_class_token=False), VOCABULARY, LENGTH, 8, 1, 2, 12, 0.0, 0.0
    ),
    "PaliGemmaBackbone": lambda: models.PaliGemmaBackbone(
        **DECODER, **HEAD, image_size=16, **{f"vit_{k}": v for k, v in VIT.items()}
    ),
    "RetinaNetBackbone": lambda: models.RetinaNetBackbone(
        resnet((128, 128, 3)), 3, 5, use_p5=False, image_shape=(128, 128, 3)
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
# Whose own code fails in a TensorFlow graph of any length of sequence, by the layer that does.
REFUSED = {
    "Qwen3_5Backbone": "linear_attn",
    "Qwen3_5MoeBackbone": "linear_attn",
    "RWKV7Backbone": "RWKV_TIME_MIX",
    "SAMBackbone": "sam_prompt_encoder",
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
