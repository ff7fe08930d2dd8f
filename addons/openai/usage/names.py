"""List the names under which servers report a figure: the API's own two pairs first, then those of others.

A server may send several names for one figure, and zero or null under all but one of them.
"""

from __future__ import annotations

INPUT = (
    "input_tokens",
    "prompt_tokens",
    "prompt_token_count",
    "input_token_count",
    "num_prompt_tokens",
    "num_input_tokens",
    "prompt_eval_count",
)
OUTPUT = (
    "output_tokens",
    "completion_tokens",
    "candidates_token_count",
    "completion_token_count",
    "output_token_count",
    "num_completion_tokens",
    "num_output_tokens",
    "generated_tokens",
    "eval_count",
)
TOTAL = ("total_tokens", "total_token_count", "num_total_tokens")
INPUT_PARTS = ("prompt_cache_hit_tokens", "prompt_cache_miss_tokens")
"""DeepSeek's: the input, where it is told in these two parts alone."""
INPUT_ON_TOP = "tool_use_prompt_token_count"
"""Gemini's: what its own tools put into the input, beside the count of that."""
HEARD = "prompt_audio_seconds"
"""Mistral's: seconds of audio, whose tokens the total alone shows."""
INPUT_DETAILS = (
    "input_tokens_details",
    "input_token_details",
    "prompt_tokens_details",
    "prompt_token_details",
)
OUTPUT_DETAILS = (
    "output_tokens_details",
    "output_token_details",
    "completion_tokens_details",
    "completion_token_details",
)

# Other makers' names of a detail -> the API's. They stand among the details, or beside the figures.
BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic's, who count the cached tokens beside the input."""
INPUT_NAMES = {
    "cache_read_input_tokens": "cached_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "prompt_cache_hit_tokens": "cached_tokens",
    "cached_input_tokens": "cached_tokens",
    "cached_prompt_tokens": "cached_tokens",
    "prompt_cached_tokens": "cached_tokens",
    "cached_prompt_text_tokens": "cached_tokens",
    "cache_read_tokens": "cached_tokens",
    "cache_hit_tokens": "cached_tokens",
    "num_cached_tokens": "cached_tokens",
    "cached_content_token_count": "cached_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "cache_write_input_tokens": "cache_write_tokens",
    "cache_read": "cached_tokens",
    "cache_creation": "cache_write_tokens",
    "audio_prompt_tokens": "audio_tokens",
    "prompt_audio_tokens": "audio_tokens",
    "input_audio_tokens": "audio_tokens",
    "input_image_tokens": "image_tokens",
    "input_text_tokens": "text_tokens",
    "cached_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
}
OUTPUT_NAMES = {
    "reasoning": "reasoning_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
    "completion_reasoning_tokens": "reasoning_tokens",
    "thinking_tokens": "reasoning_tokens",
    "thoughts_token_count": "reasoning_tokens",
    "audio_completion_tokens": "audio_tokens",
    "completion_audio_tokens": "audio_tokens",
    "output_audio_tokens": "audio_tokens",
    "output_image_tokens": "image_tokens",
    "output_text_tokens": "text_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "accepted_prediction_tokens": "accepted_prediction_tokens",
    "rejected_prediction_tokens": "rejected_prediction_tokens",
}
CACHED_DETAILS = "cached_tokens_details"
"""Beside the figures in the usage of the image tool, its names with the prefix `cached_`."""
WITHIN = ("billed_units", "tokens")
"""Members that hold the figures where the usage itself has none: Cohere's."""
WRITTEN_DETAILS = "cache_write_tokens_details"
WRITTEN = {
    "ephemeral_5m_input_tokens": "ttl_5m_tokens",
    "ephemeral_1h_input_tokens": "ttl_1h_tokens",
    "claude_cache_creation_5_m_tokens": "ttl_5m_tokens",
    "claude_cache_creation_1_h_tokens": "ttl_1h_tokens",
}
"""Names of the tokens that were written to the cache, by how long they are kept: Anthropic's, and those of a
gateway to it. The first two stand in a group, ``cache_creation``."""
KNOWN = frozenset(
    (
        *(*INPUT, *OUTPUT, *TOTAL, *INPUT_DETAILS, *OUTPUT_DETAILS, *INPUT_NAMES, *OUTPUT_NAMES),
        *("seconds", "type", CACHED_DETAILS, INPUT_ON_TOP, "prompt_cache_miss_tokens", *WRITTEN),
    )
)
