//! Structures lie in memory as the ABI description says. Written by bindings/rust/generate.py from
//! capi/abi/tessera.json: change that.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use std::mem::{size_of, MaybeUninit};
use std::ptr::addr_of;

use tessera_sys::*;

/// Where a field is, and how large.
macro_rules! place {
    ($kind:ident, $field:ident) => {{
        let whole = MaybeUninit::<$kind>::uninit();
        // SAFETY: only the address is taken.
        let field = unsafe { addr_of!((*whole.as_ptr()).$field) };
        fn size<T>(_: *const T) -> usize {
            size_of::<T>()
        }
        (field as usize - whole.as_ptr() as usize, size(field))
    }};
}

#[test]
fn tsr_log_callbacks_lies_as_described() {
    assert_eq!(size_of::<tsr_log_callbacks>(), 32);
    assert_eq!(place!(tsr_log_callbacks, struct_size), (0, 8));
    assert_eq!(place!(tsr_log_callbacks, user), (8, 8));
    assert_eq!(place!(tsr_log_callbacks, drop), (16, 8));
    assert_eq!(place!(tsr_log_callbacks, write), (24, 8));
}

#[test]
fn tsr_progress_callbacks_lies_as_described() {
    assert_eq!(size_of::<tsr_progress_callbacks>(), 32);
    assert_eq!(place!(tsr_progress_callbacks, struct_size), (0, 8));
    assert_eq!(place!(tsr_progress_callbacks, user), (8, 8));
    assert_eq!(place!(tsr_progress_callbacks, drop), (16, 8));
    assert_eq!(place!(tsr_progress_callbacks, progress), (24, 8));
}

#[test]
fn tsr_reader_lies_as_described() {
    assert_eq!(size_of::<tsr_reader>(), 40);
    assert_eq!(place!(tsr_reader, struct_size), (0, 8));
    assert_eq!(place!(tsr_reader, user), (8, 8));
    assert_eq!(place!(tsr_reader, drop), (16, 8));
    assert_eq!(place!(tsr_reader, size_bytes), (24, 8));
    assert_eq!(place!(tsr_reader, read_at), (32, 8));
}

#[test]
fn tsr_memory_callbacks_lies_as_described() {
    assert_eq!(size_of::<tsr_memory_callbacks>(), 40);
    assert_eq!(place!(tsr_memory_callbacks, struct_size), (0, 8));
    assert_eq!(place!(tsr_memory_callbacks, user), (8, 8));
    assert_eq!(place!(tsr_memory_callbacks, drop), (16, 8));
    assert_eq!(place!(tsr_memory_callbacks, allocate), (24, 8));
    assert_eq!(place!(tsr_memory_callbacks, free), (32, 8));
}

#[test]
fn tsr_model_info_lies_as_described() {
    assert_eq!(size_of::<tsr_model_info>(), 272);
    assert_eq!(place!(tsr_model_info, struct_size), (0, 8));
    assert_eq!(place!(tsr_model_info, parameters), (8, 8));
    assert_eq!(place!(tsr_model_info, weight_bytes), (16, 8));
    assert_eq!(place!(tsr_model_info, bytes_per_token), (24, 8));
    assert_eq!(place!(tsr_model_info, vocabulary_size), (32, 4));
    assert_eq!(place!(tsr_model_info, context_tokens), (36, 4));
    assert_eq!(place!(tsr_model_info, layers), (40, 4));
    assert_eq!(place!(tsr_model_info, hidden_size), (44, 4));
    assert_eq!(place!(tsr_model_info, bos_token), (48, 4));
    assert_eq!(place!(tsr_model_info, end_token), (52, 4));
    assert_eq!(place!(tsr_model_info, hash), (56, 16));
    assert_eq!(place!(tsr_model_info, tokenizer_hash), (72, 16));
    assert_eq!(place!(tsr_model_info, device), (88, 128));
    assert_eq!(place!(tsr_model_info, device_uuid), (216, 48));
    assert_eq!(place!(tsr_model_info, device_memory_bytes), (264, 8));
}

#[test]
fn tsr_ready_callbacks_lies_as_described() {
    assert_eq!(size_of::<tsr_ready_callbacks>(), 32);
    assert_eq!(place!(tsr_ready_callbacks, struct_size), (0, 8));
    assert_eq!(place!(tsr_ready_callbacks, user), (8, 8));
    assert_eq!(place!(tsr_ready_callbacks, drop), (16, 8));
    assert_eq!(place!(tsr_ready_callbacks, on_ready), (24, 8));
}

#[test]
fn tsr_event_lies_as_described() {
    assert_eq!(size_of::<tsr_event>(), 16);
    assert_eq!(place!(tsr_event, size), (0, 4));
    assert_eq!(place!(tsr_event, kind), (4, 4));
    assert_eq!(place!(tsr_event, tag), (8, 8));
}

#[test]
fn tsr_token_logprob_lies_as_described() {
    assert_eq!(size_of::<tsr_token_logprob>(), 8);
    assert_eq!(place!(tsr_token_logprob, token), (0, 4));
    assert_eq!(place!(tsr_token_logprob, logprob), (4, 4));
}

#[test]
fn tsr_event_tokens_lies_as_described() {
    assert_eq!(size_of::<tsr_event_tokens>(), 56);
    assert_eq!(place!(tsr_event_tokens, head), (0, 16));
    assert_eq!(place!(tsr_event_tokens, request), (16, 8));
    assert_eq!(place!(tsr_event_tokens, token_count), (24, 4));
    assert_eq!(place!(tsr_event_tokens, token_offset), (28, 4));
    assert_eq!(place!(tsr_event_tokens, text_size), (32, 4));
    assert_eq!(place!(tsr_event_tokens, text_offset), (36, 4));
    assert_eq!(place!(tsr_event_tokens, logprob_offset), (40, 4));
    assert_eq!(place!(tsr_event_tokens, top_count), (44, 4));
    assert_eq!(place!(tsr_event_tokens, top_offset), (48, 4));
    assert_eq!(place!(tsr_event_tokens, reserved), (52, 4));
}

#[test]
fn tsr_event_finished_lies_as_described() {
    assert_eq!(size_of::<tsr_event_finished>(), 80);
    assert_eq!(place!(tsr_event_finished, head), (0, 16));
    assert_eq!(place!(tsr_event_finished, request), (16, 8));
    assert_eq!(place!(tsr_event_finished, reason), (24, 4));
    assert_eq!(place!(tsr_event_finished, status), (28, 4));
    assert_eq!(place!(tsr_event_finished, prompt_tokens), (32, 4));
    assert_eq!(place!(tsr_event_finished, generated_tokens), (36, 4));
    assert_eq!(place!(tsr_event_finished, last_token), (40, 4));
    assert_eq!(place!(tsr_event_finished, message_size), (44, 4));
    assert_eq!(place!(tsr_event_finished, message_offset), (48, 4));
    assert_eq!(place!(tsr_event_finished, reserved), (52, 4));
    assert_eq!(place!(tsr_event_finished, queued_ns), (56, 8));
    assert_eq!(place!(tsr_event_finished, prompt_ns), (64, 8));
    assert_eq!(place!(tsr_event_finished, decode_ns), (72, 8));
}

#[test]
fn tsr_rendezvous_callbacks_lies_as_described() {
    assert_eq!(size_of::<tsr_rendezvous_callbacks>(), 32);
    assert_eq!(place!(tsr_rendezvous_callbacks, struct_size), (0, 8));
    assert_eq!(place!(tsr_rendezvous_callbacks, user), (8, 8));
    assert_eq!(place!(tsr_rendezvous_callbacks, drop), (16, 8));
    assert_eq!(place!(tsr_rendezvous_callbacks, all_gather), (24, 8));
}

#[test]
fn tsr_step_stats_lies_as_described() {
    assert_eq!(size_of::<tsr_step_stats>(), 40);
    assert_eq!(place!(tsr_step_stats, struct_size), (0, 8));
    assert_eq!(place!(tsr_step_stats, elapsed_ns), (8, 8));
    assert_eq!(place!(tsr_step_stats, prompt_tokens), (16, 8));
    assert_eq!(place!(tsr_step_stats, generated_tokens), (24, 8));
    assert_eq!(place!(tsr_step_stats, work_left), (32, 4));
    assert_eq!(place!(tsr_step_stats, reserved), (36, 4));
}

#[test]
fn tsr_engine_metrics_lies_as_described() {
    assert_eq!(size_of::<tsr_engine_metrics>(), 304);
    assert_eq!(place!(tsr_engine_metrics, struct_size), (0, 8));
    assert_eq!(place!(tsr_engine_metrics, batches), (8, 8));
    assert_eq!(place!(tsr_engine_metrics, prompt_tokens), (16, 8));
    assert_eq!(place!(tsr_engine_metrics, generated_tokens), (24, 8));
    assert_eq!(place!(tsr_engine_metrics, requests_accepted), (32, 8));
    assert_eq!(place!(tsr_engine_metrics, requests_finished), (40, 8));
    assert_eq!(place!(tsr_engine_metrics, batches_failed), (48, 8));
    assert_eq!(place!(tsr_engine_metrics, evictions), (56, 8));
    assert_eq!(place!(tsr_engine_metrics, compute_ns), (64, 8));
    assert_eq!(place!(tsr_engine_metrics, cache_bytes), (72, 8));
    assert_eq!(place!(tsr_engine_metrics, scratch_bytes), (80, 8));
    assert_eq!(place!(tsr_engine_metrics, sessions), (88, 4));
    assert_eq!(place!(tsr_engine_metrics, requests_running), (92, 4));
    assert_eq!(place!(tsr_engine_metrics, requests_queued), (96, 4));
    assert_eq!(place!(tsr_engine_metrics, threads), (100, 4));
    assert_eq!(place!(tsr_engine_metrics, blocks_total), (104, 8));
    assert_eq!(place!(tsr_engine_metrics, blocks_free), (112, 8));
    assert_eq!(place!(tsr_engine_metrics, block_tokens), (120, 4));
    assert_eq!(place!(tsr_engine_metrics, reserved), (124, 4));
    assert_eq!(place!(tsr_engine_metrics, preemptions), (128, 8));
    assert_eq!(place!(tsr_engine_metrics, shared_tokens), (136, 8));
    assert_eq!(place!(tsr_engine_metrics, copied_blocks), (144, 8));
    assert_eq!(place!(tsr_engine_metrics, device_steps), (152, 8));
    assert_eq!(place!(tsr_engine_metrics, device_ns), (160, 8));
    assert_eq!(place!(tsr_engine_metrics, device_idle_ns), (168, 8));
    assert_eq!(place!(tsr_engine_metrics, region_ns), (176, 128));
}

#[test]
fn tsr_plan_lies_as_described() {
    assert_eq!(size_of::<tsr_plan>(), 144);
    assert_eq!(place!(tsr_plan, struct_size), (0, 8));
    assert_eq!(place!(tsr_plan, host_bytes), (8, 8));
    assert_eq!(place!(tsr_plan, host_weight_bytes), (16, 8));
    assert_eq!(place!(tsr_plan, host_cache_bytes), (24, 8));
    assert_eq!(place!(tsr_plan, host_scratch_bytes), (32, 8));
    assert_eq!(place!(tsr_plan, host_object_bytes), (40, 8));
    assert_eq!(place!(tsr_plan, device_bytes), (48, 8));
    assert_eq!(place!(tsr_plan, nvme_bytes), (56, 8));
    assert_eq!(place!(tsr_plan, cache_tokens), (64, 8));
    assert_eq!(place!(tsr_plan, fitting_cache_tokens), (72, 8));
    assert_eq!(place!(tsr_plan, context_tokens), (80, 4));
    assert_eq!(place!(tsr_plan, fits), (84, 4));
    assert_eq!(place!(tsr_plan, weight_bytes_per_token), (88, 8));
    assert_eq!(place!(tsr_plan, cache_bytes_per_token), (96, 8));
    assert_eq!(place!(tsr_plan, decode_tokens_per_second), (104, 8));
    assert_eq!(place!(tsr_plan, decode_tokens_per_second_full), (112, 8));
    assert_eq!(place!(tsr_plan, prompt_tokens_per_second), (120, 8));
    assert_eq!(place!(tsr_plan, read_bandwidth), (128, 8));
    assert_eq!(place!(tsr_plan, products_per_second), (136, 8));
}

#[test]
fn tsr_state_info_lies_as_described() {
    assert_eq!(size_of::<tsr_state_info>(), 80);
    assert_eq!(place!(tsr_state_info, struct_size), (0, 8));
    assert_eq!(place!(tsr_state_info, size_bytes), (8, 8));
    assert_eq!(place!(tsr_state_info, token_count), (16, 8));
    assert_eq!(place!(tsr_state_info, cached_tokens), (24, 8));
    assert_eq!(place!(tsr_state_info, version), (32, 4));
    assert_eq!(place!(tsr_state_info, cache_type), (36, 4));
    assert_eq!(place!(tsr_state_info, complete), (40, 4));
    assert_eq!(place!(tsr_state_info, reserved), (44, 4));
    assert_eq!(place!(tsr_state_info, model_hash), (48, 16));
    assert_eq!(place!(tsr_state_info, tokenizer_hash), (64, 16));
}
