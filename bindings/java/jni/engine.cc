// Native functions of queues and engines.
#include <limits>

#include "dev_tessera_Native.h"
#include "support.h"

using tessera_jni::Handle;
using tessera_jni::Ok;
using tessera_jni::Pointer;

extern "C" {

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_queueCreate(JNIEnv* env, jclass, jlong runtime) {
  tsr_queue* queue = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_queue_create(Pointer<tsr_runtime>(runtime), nullptr, &queue, &error);
  return Ok(env, status, error) ? Handle(queue) : 0;
}

JNIEXPORT jint JNICALL Java_dev_tessera_Native_queuePoll(JNIEnv* env, jclass, jlong queue, jlong timeout_ns,
                                                         jobject buffer) {
  void* start = env->GetDirectBufferAddress(buffer);
  const jlong capacity = env->GetDirectBufferCapacity(buffer);
  if (start == nullptr || capacity < 0) {
    tessera_jni::Throw(env, TSR_STATUS_INVALID_ARGUMENT, "the buffer is not direct", "buffer");
    return 0;
  }
  size_t used = 0;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_queue_poll(Pointer<tsr_queue>(queue), timeout_ns, start,
                                           static_cast<size_t>(capacity), &used, &error);
  if (status == TSR_STATUS_BUFFER_TOO_SMALL &&
      used <= static_cast<size_t>(std::numeric_limits<jint>::max())) {
    tsr_error_release(error);
    return -static_cast<jint>(used);
  }
  return Ok(env, status, error) ? static_cast<jint>(used) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_queueWake(JNIEnv* env, jclass, jlong queue) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_queue_wake(Pointer<tsr_queue>(queue), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_queueRelease(JNIEnv*, jclass, jlong queue) {
  tsr_queue_release(Pointer<tsr_queue>(queue));
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_engineCreate(JNIEnv* env, jclass, jlong model,
                                                             jlong options) {
  tsr_engine* engine = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_engine_create(Pointer<tsr_model>(model), Pointer<tsr_options>(options), &engine, &error);
  return Ok(env, status, error) ? Handle(engine) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_engineStep(JNIEnv* env, jclass, jlong engine, jlong budget_ns,
                                                          jlongArray stats) {
  tsr_step_stats done = {};
  done.struct_size = sizeof(done);
  tsr_error* error = nullptr;
  const tsr_status status = tsr_engine_step(Pointer<tsr_engine>(engine), budget_ns, &done, &error);
  if (!Ok(env, status, error)) return;
  const jlong values[] = {done.elapsed_ns, static_cast<jlong>(done.prompt_tokens),
                          static_cast<jlong>(done.generated_tokens), done.work_left};
  env->SetLongArrayRegion(stats, 0, 4, values);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_engineServe(JNIEnv* env, jclass, jlong engine) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_engine_serve(Pointer<tsr_engine>(engine), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_engineMetrics(JNIEnv* env, jclass, jlong engine,
                                                             jlongArray counters, jlongArray regions) {
  tsr_engine_metrics m = {};
  m.struct_size = sizeof(m);
  tsr_error* error = nullptr;
  const tsr_status status = tsr_engine_get_metrics(Pointer<tsr_engine>(engine), &m, &error);
  if (!Ok(env, status, error)) return;
  const auto count = [](uint64_t value) { return static_cast<jlong>(value); };
  const jlong values[] = {count(m.batches),
                          count(m.prompt_tokens),
                          count(m.generated_tokens),
                          count(m.requests_accepted),
                          count(m.requests_finished),
                          count(m.batches_failed),
                          count(m.evictions),
                          count(m.compute_ns),
                          count(m.cache_bytes),
                          count(m.scratch_bytes),
                          m.sessions,
                          m.requests_running,
                          m.requests_queued,
                          m.threads,
                          m.blocks_total,
                          m.blocks_free,
                          m.block_tokens,
                          count(m.preemptions),
                          count(m.shared_tokens),
                          count(m.copied_blocks),
                          count(m.device_steps),
                          count(m.device_ns),
                          count(m.device_idle_ns)};
  env->SetLongArrayRegion(counters, 0, 23, values);
  if (env->ExceptionCheck()) return;
  jlong times[16];
  for (int i = 0; i < 16; ++i) times[i] = count(m.region_ns[i]);
  env->SetLongArrayRegion(regions, 0, 16, times);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_engineClose(JNIEnv* env, jclass, jlong engine) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_engine_close(Pointer<tsr_engine>(engine), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_engineRelease(JNIEnv*, jclass, jlong engine) {
  tsr_engine_release(Pointer<tsr_engine>(engine));
}

}  // extern "C"
