"""Made by make_abi.py from the description of the C ABI: do not edit."""

import ctypes as c

STATUS_OK = 0
STATUS_CANCELLED = 1
STATUS_INVALID_ARGUMENT = 3
STATUS_DEADLINE_EXCEEDED = 4
STATUS_NOT_FOUND = 5
STATUS_LIMIT_EXCEEDED = 8
STATUS_WRONG_STATE = 9
STATUS_UNSUPPORTED = 12
STATUS_INTERNAL = 13
STATUS_BUSY = 14
STATUS_CORRUPT = 15
STATUS_OUT_OF_MEMORY = 32
STATUS_BUFFER_TOO_SMALL = 33
STATUS_IO_ERROR = 34
STATUS_INVALID_UTF8 = 35
STATUS_CLOSED = 36
STATUS_NUMERIC_FAULT = 37
STATUS_LOST = 38
STATUS_FORKED = 39
STATUS_MISMATCH = 40
LOG_DEBUG = 0
LOG_INFO = 1
LOG_WARNING = 2
LOG_ERROR = 3
MEMORY_CLASS_WEIGHTS = 0
MEMORY_CLASS_CACHE = 1
MEMORY_CLASS_SCRATCH = 2
MEMORY_COPY = 0
MEMORY_BORROW = 1
METADATA_INT = 1
METADATA_FLOAT = 2
METADATA_STRING = 3
TEXT_PLAIN = 0
TEXT_PARSE_SPECIAL = 1
TEXT_ADD_SPECIAL = 2
EVENT_TOKENS = 1
EVENT_FINISHED = 2
FINISH_END = 1
FINISH_STOP = 2
FINISH_LENGTH = 3
FINISH_CONTEXT = 4
FINISH_CANCELLED = 5
FINISH_DEADLINE = 6
FINISH_ERROR = 7
FINISH_CLOSED = 8
REGION_EMBED = 0
REGION_NORM_QKV = 1
REGION_ATTENTION = 2
REGION_OUTPUT = 3
REGION_NORM_GATE_UP = 4
REGION_DOWN = 5
REGION_HEAD = 6
REGION_SAMPLE = 7
CANCEL_KEEP = 0
CANCEL_DROP = 1
CACHE_NONE = -1
CACHE_F32 = 0
CACHE_F16 = 1
CACHE_BF16 = 2
CACHE_INT8 = 3
VERSION_MAJOR = 0
VERSION_MINOR = 1
VERSION_PATCH = 0
STATE_HEADER_BYTES = 128


class LogCallbacks(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("write", c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_void_p, c.c_size_t)),
    ]


class ProgressCallbacks(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("progress", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_uint64, c.c_uint64)),
    ]


class Reader(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("size_bytes", c.c_uint64),
        ("read_at", c.CFUNCTYPE(c.c_int64, c.c_void_p, c.c_uint64, c.c_void_p, c.c_size_t)),
    ]


class MemoryCallbacks(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("allocate", c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_int32, c.c_size_t)),
        ("free", c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_void_p, c.c_size_t)),
    ]


class ModelInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("parameters", c.c_int64),
        ("weight_bytes", c.c_uint64),
        ("bytes_per_token", c.c_uint64),
        ("vocabulary_size", c.c_int32),
        ("context_tokens", c.c_int32),
        ("layers", c.c_int32),
        ("hidden_size", c.c_int32),
        ("bos_token", c.c_int32),
        ("end_token", c.c_int32),
        ("hash", c.c_uint8 * 16),
        ("tokenizer_hash", c.c_uint8 * 16),
        ("device", c.c_char * 128),
        ("device_uuid", c.c_char * 48),
        ("device_memory_bytes", c.c_uint64),
    ]


class ReadyCallbacks(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("on_ready", c.CFUNCTYPE(None, c.c_void_p)),
    ]


class Event(c.Structure):
    _fields_ = [
        ("size", c.c_uint32),
        ("kind", c.c_uint32),
        ("tag", c.c_uint64),
    ]


class TokenLogprob(c.Structure):
    _fields_ = [
        ("token", c.c_int32),
        ("logprob", c.c_float),
    ]


class EventTokens(c.Structure):
    _fields_ = [
        ("head", Event),
        ("request", c.c_uint64),
        ("token_count", c.c_uint32),
        ("token_offset", c.c_uint32),
        ("text_size", c.c_uint32),
        ("text_offset", c.c_uint32),
        ("logprob_offset", c.c_uint32),
        ("top_count", c.c_uint32),
        ("top_offset", c.c_uint32),
        ("reserved", c.c_uint32),
    ]


class EventFinished(c.Structure):
    _fields_ = [
        ("head", Event),
        ("request", c.c_uint64),
        ("reason", c.c_int32),
        ("status", c.c_int32),
        ("prompt_tokens", c.c_uint32),
        ("generated_tokens", c.c_uint32),
        ("last_token", c.c_int32),
        ("message_size", c.c_uint32),
        ("message_offset", c.c_uint32),
        ("reserved", c.c_uint32),
        ("queued_ns", c.c_int64),
        ("prompt_ns", c.c_int64),
        ("decode_ns", c.c_int64),
    ]


class RendezvousCallbacks(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("user", c.c_void_p),
        ("drop", c.CFUNCTYPE(None, c.c_void_p)),
        ("all_gather", c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p, c.c_size_t, c.c_uint64, c.c_void_p, c.c_size_t, c.c_void_p, c.c_int64)),
    ]


class StepStats(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("elapsed_ns", c.c_int64),
        ("prompt_tokens", c.c_uint64),
        ("generated_tokens", c.c_uint64),
        ("work_left", c.c_int32),
        ("reserved", c.c_int32),
    ]


class EngineMetrics(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("batches", c.c_uint64),
        ("prompt_tokens", c.c_uint64),
        ("generated_tokens", c.c_uint64),
        ("requests_accepted", c.c_uint64),
        ("requests_finished", c.c_uint64),
        ("batches_failed", c.c_uint64),
        ("evictions", c.c_uint64),
        ("compute_ns", c.c_uint64),
        ("cache_bytes", c.c_uint64),
        ("scratch_bytes", c.c_uint64),
        ("sessions", c.c_int32),
        ("requests_running", c.c_int32),
        ("requests_queued", c.c_int32),
        ("threads", c.c_int32),
        ("blocks_total", c.c_int64),
        ("blocks_free", c.c_int64),
        ("block_tokens", c.c_int32),
        ("reserved", c.c_int32),
        ("preemptions", c.c_uint64),
        ("shared_tokens", c.c_uint64),
        ("copied_blocks", c.c_uint64),
        ("device_steps", c.c_uint64),
        ("device_ns", c.c_uint64),
        ("device_idle_ns", c.c_uint64),
        ("region_ns", c.c_uint64 * 16),
    ]


class Plan(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("host_bytes", c.c_uint64),
        ("host_weight_bytes", c.c_uint64),
        ("host_cache_bytes", c.c_uint64),
        ("host_scratch_bytes", c.c_uint64),
        ("host_object_bytes", c.c_uint64),
        ("device_bytes", c.c_uint64),
        ("nvme_bytes", c.c_uint64),
        ("cache_tokens", c.c_int64),
        ("fitting_cache_tokens", c.c_int64),
        ("context_tokens", c.c_int32),
        ("fits", c.c_int32),
        ("weight_bytes_per_token", c.c_uint64),
        ("cache_bytes_per_token", c.c_uint64),
        ("decode_tokens_per_second", c.c_double),
        ("decode_tokens_per_second_full", c.c_double),
        ("prompt_tokens_per_second", c.c_double),
        ("read_bandwidth", c.c_double),
        ("products_per_second", c.c_double),
    ]


class StateInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("size_bytes", c.c_uint64),
        ("token_count", c.c_uint64),
        ("cached_tokens", c.c_uint64),
        ("version", c.c_int32),
        ("cache_type", c.c_int32),
        ("complete", c.c_int32),
        ("reserved", c.c_int32),
        ("model_hash", c.c_uint8 * 16),
        ("tokenizer_hash", c.c_uint8 * 16),
    ]


# The size of each structure, and the offset of each field, as a C compiler has them.
LAYOUTS = {
    LogCallbacks: (32, {"struct_size": 0, "user": 8, "drop": 16, "write": 24}),
    ProgressCallbacks: (32, {"struct_size": 0, "user": 8, "drop": 16, "progress": 24}),
    Reader: (40, {"struct_size": 0, "user": 8, "drop": 16, "size_bytes": 24, "read_at": 32}),
    MemoryCallbacks: (40, {"struct_size": 0, "user": 8, "drop": 16, "allocate": 24, "free": 32}),
    ModelInfo: (272, {"struct_size": 0, "parameters": 8, "weight_bytes": 16, "bytes_per_token": 24, "vocabulary_size": 32, "context_tokens": 36, "layers": 40, "hidden_size": 44, "bos_token": 48, "end_token": 52, "hash": 56, "tokenizer_hash": 72, "device": 88, "device_uuid": 216, "device_memory_bytes": 264}),
    ReadyCallbacks: (32, {"struct_size": 0, "user": 8, "drop": 16, "on_ready": 24}),
    Event: (16, {"size": 0, "kind": 4, "tag": 8}),
    TokenLogprob: (8, {"token": 0, "logprob": 4}),
    EventTokens: (56, {"head": 0, "request": 16, "token_count": 24, "token_offset": 28, "text_size": 32, "text_offset": 36, "logprob_offset": 40, "top_count": 44, "top_offset": 48, "reserved": 52}),
    EventFinished: (80, {"head": 0, "request": 16, "reason": 24, "status": 28, "prompt_tokens": 32, "generated_tokens": 36, "last_token": 40, "message_size": 44, "message_offset": 48, "reserved": 52, "queued_ns": 56, "prompt_ns": 64, "decode_ns": 72}),
    RendezvousCallbacks: (32, {"struct_size": 0, "user": 8, "drop": 16, "all_gather": 24}),
    StepStats: (40, {"struct_size": 0, "elapsed_ns": 8, "prompt_tokens": 16, "generated_tokens": 24, "work_left": 32, "reserved": 36}),
    EngineMetrics: (304, {"struct_size": 0, "batches": 8, "prompt_tokens": 16, "generated_tokens": 24, "requests_accepted": 32, "requests_finished": 40, "batches_failed": 48, "evictions": 56, "compute_ns": 64, "cache_bytes": 72, "scratch_bytes": 80, "sessions": 88, "requests_running": 92, "requests_queued": 96, "threads": 100, "blocks_total": 104, "blocks_free": 112, "block_tokens": 120, "reserved": 124, "preemptions": 128, "shared_tokens": 136, "copied_blocks": 144, "device_steps": 152, "device_ns": 160, "device_idle_ns": 168, "region_ns": 176}),
    Plan: (144, {"struct_size": 0, "host_bytes": 8, "host_weight_bytes": 16, "host_cache_bytes": 24, "host_scratch_bytes": 32, "host_object_bytes": 40, "device_bytes": 48, "nvme_bytes": 56, "cache_tokens": 64, "fitting_cache_tokens": 72, "context_tokens": 80, "fits": 84, "weight_bytes_per_token": 88, "cache_bytes_per_token": 96, "decode_tokens_per_second": 104, "decode_tokens_per_second_full": 112, "prompt_tokens_per_second": 120, "read_bandwidth": 128, "products_per_second": 136}),
    StateInfo: (80, {"struct_size": 0, "size_bytes": 8, "token_count": 16, "cached_tokens": 24, "version": 32, "cache_type": 36, "complete": 40, "reserved": 44, "model_hash": 48, "tokenizer_hash": 64}),
}

# By name: what a function returns and takes.
FUNCTIONS = {
    "tsr_version_string": (c.c_void_p, []),
    "tsr_version_number": (c.c_int32, []),
    "tsr_abi_describe": (c.c_void_p, [c.c_void_p]),
    "tsr_status_name": (c.c_void_p, [c.c_int32]),
    "tsr_error_code": (c.c_int32, [c.c_void_p]),
    "tsr_error_message": (c.c_void_p, [c.c_void_p, c.c_void_p]),
    "tsr_error_place": (c.c_void_p, [c.c_void_p, c.c_void_p]),
    "tsr_error_release": (None, [c.c_void_p]),
    "tsr_options_create": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_options_release": (None, [c.c_void_p]),
    "tsr_options_set_int": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_int64, c.c_void_p]),
    "tsr_options_set_float": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_double, c.c_void_p]),
    "tsr_options_set_bool": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_int32, c.c_void_p]),
    "tsr_options_set_string": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_char_p, c.c_size_t, c.c_void_p]),
    "tsr_options_set_int_list": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_options_set_float_list": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_options_set_string_list": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_options_set_pointer": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_options_set_callbacks": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_runtime_create": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_runtime_close": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_runtime_release": (None, [c.c_void_p]),
    "tsr_model_load_file": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_load_descriptor": (c.c_int32, [c.c_void_p, c.c_int, c.c_uint64, c.c_uint64, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_load_memory": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_int32, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_load_reader": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_release": (None, [c.c_void_p]),
    "tsr_model_get_info": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_metadata_count": (c.c_size_t, [c.c_void_p]),
    "tsr_model_metadata_key": (c.c_void_p, [c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_model_metadata_kind": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_metadata_int": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_model_metadata_float": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_model_metadata_string": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_model_tokenize": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_int32, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_model_detokenize": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_int32, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_model_apply_chat_template": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_queue_create": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_queue_poll": (c.c_int32, [c.c_void_p, c.c_int64, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_queue_wait": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_int64, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_queue_wake": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_queue_descriptor": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_queue_release": (None, [c.c_void_p]),
    "tsr_engine_create": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_engine_step": (c.c_int32, [c.c_void_p, c.c_int64, c.c_void_p, c.c_void_p]),
    "tsr_engine_serve": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_engine_get_metrics": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_engine_close": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_engine_release": (None, [c.c_void_p]),
    "tsr_plan_file": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_plan_descriptor": (c.c_int32, [c.c_void_p, c.c_int, c.c_uint64, c.c_uint64, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_plan_memory": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_plan_reader": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_session_create": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_session_append_text": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_int32, c.c_void_p]),
    "tsr_session_append_chat": (c.c_int32, [c.c_void_p, c.c_char_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_session_append_tokens": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_session_generate": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_uint64, c.c_void_p, c.c_void_p]),
    "tsr_session_fork": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_session_rewind": (c.c_int32, [c.c_void_p, c.c_size_t, c.c_void_p]),
    "tsr_session_cancel": (c.c_int32, [c.c_void_p, c.c_int32, c.c_void_p]),
    "tsr_session_token_count": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_session_get_tokens": (c.c_int32, [c.c_void_p, c.c_size_t, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_session_get_logits": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_session_park": (c.c_int32, [c.c_void_p, c.c_void_p]),
    "tsr_session_release": (None, [c.c_void_p]),
    "tsr_session_save": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
    "tsr_session_restore": (c.c_int32, [c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p, c.c_void_p]),
    "tsr_state_probe": (c.c_int32, [c.c_void_p, c.c_size_t, c.c_void_p, c.c_void_p]),
}
