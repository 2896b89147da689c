"""A tiny backbone of every family of KerasHub for text."""

from keras_hub import models

VOCABULARY = 13
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


# Encoders, then decoders, then both.
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
