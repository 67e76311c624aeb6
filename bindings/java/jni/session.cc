// Native functions of sessions and saved states.
#include "dev_tessera_Native.h"
#include "support.h"

using tessera_jni::Bytes;
using tessera_jni::Handle;
using tessera_jni::Ok;
using tessera_jni::Pointer;
using tessera_jni::Resize;

extern "C" {

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_sessionCreate(JNIEnv* env, jclass, jlong engine,
                                                              jlong options) {
  tsr_session* session = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_create(Pointer<tsr_engine>(engine), Pointer<tsr_options>(options), &session, &error);
  return Ok(env, status, error) ? Handle(session) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionAppendText(JNIEnv* env, jclass, jlong session,
                                                                 jbyteArray text, jint flags) {
  const Bytes bytes(env, text);
  if (!bytes.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_append_text(Pointer<tsr_session>(session), bytes.data(), bytes.size(), flags, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionAppendChat(JNIEnv* env, jclass, jlong session,
                                                                 jbyteArray messages, jlong options) {
  const Bytes json(env, messages);
  if (!json.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_session_append_chat(Pointer<tsr_session>(session), json.data(), json.size(),
                                                    Pointer<tsr_options>(options), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionAppendTokens(JNIEnv* env, jclass, jlong session,
                                                                   jintArray tokens) {
  if (tokens == nullptr) return tessera_jni::ThrowNull(env);
  const jsize count = env->GetArrayLength(tokens);
  std::vector<int32_t> ids;
  if (!Resize(env, &ids, static_cast<size_t>(count))) return;
  env->GetIntArrayRegion(tokens, 0, count, ids.data());
  if (env->ExceptionCheck()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_append_tokens(Pointer<tsr_session>(session), ids.data(), ids.size(), &error);
  Ok(env, status, error);
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_sessionGenerate(JNIEnv* env, jclass, jlong session,
                                                                jlong options, jlong queue, jlong tag) {
  uint64_t request = 0;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_generate(Pointer<tsr_session>(session), Pointer<tsr_options>(options),
                           Pointer<tsr_queue>(queue), static_cast<uint64_t>(tag), &request, &error);
  return Ok(env, status, error) ? static_cast<jlong>(request) : 0;
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_sessionFork(JNIEnv* env, jclass, jlong session,
                                                            jlong options) {
  tsr_session* fork = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_fork(Pointer<tsr_session>(session), Pointer<tsr_options>(options), &fork, &error);
  return Ok(env, status, error) ? Handle(fork) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionRewind(JNIEnv* env, jclass, jlong session,
                                                             jlong tokens) {
  if (tokens < 0) {
    return tessera_jni::Throw(env, TSR_STATUS_INVALID_ARGUMENT,
                              "a session cannot be cut to less than 0 tokens", "token_count");
  }
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_session_rewind(Pointer<tsr_session>(session), static_cast<size_t>(tokens), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionCancel(JNIEnv* env, jclass, jlong session,
                                                             jint effect) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_session_cancel(Pointer<tsr_session>(session), effect, &error);
  Ok(env, status, error);
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_sessionTokenCount(JNIEnv* env, jclass, jlong session) {
  size_t count = 0;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_session_token_count(Pointer<tsr_session>(session), &count, &error);
  return Ok(env, status, error) ? static_cast<jlong>(count) : 0;
}

JNIEXPORT jintArray JNICALL Java_dev_tessera_Native_sessionTokens(JNIEnv* env, jclass, jlong session,
                                                                  jlong first) {
  size_t count = 0;
  tsr_error* error = nullptr;
  tsr_status status = tsr_session_token_count(Pointer<tsr_session>(session), &count, &error);
  if (!Ok(env, status, error)) return nullptr;
  std::vector<int32_t> tokens;
  const size_t start = first < 0 ? count + 1 : static_cast<size_t>(first);
  if (!Resize(env, &tokens, start < count ? count - start : 0)) return nullptr;
  error = nullptr;
  status = tsr_session_get_tokens(Pointer<tsr_session>(session), start, tokens.data(), tokens.size(), &count,
                                  &error);
  return Ok(env, status, error) ? tessera_jni::NewInts(env, tokens.data(), count) : nullptr;
}

JNIEXPORT jfloatArray JNICALL Java_dev_tessera_Native_sessionLogits(JNIEnv* env, jclass, jlong session) {
  std::vector<float> logits;
  size_t count = 0;
  for (;;) {
    if (!Resize(env, &logits, count)) return nullptr;
    tsr_error* error = nullptr;
    const tsr_status status =
        tsr_session_get_logits(Pointer<tsr_session>(session), logits.data(), logits.size(), &count, &error);
    if (status == TSR_STATUS_BUFFER_TOO_SMALL) {
      tsr_error_release(error);
      continue;
    }
    if (!Ok(env, status, error)) return nullptr;
    jfloatArray array = env->NewFloatArray(static_cast<jsize>(count));
    if (array != nullptr) env->SetFloatArrayRegion(array, 0, static_cast<jsize>(count), logits.data());
    return array;
  }
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionPark(JNIEnv* env, jclass, jlong session) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_session_park(Pointer<tsr_session>(session), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_sessionRelease(JNIEnv*, jclass, jlong session) {
  tsr_session_release(Pointer<tsr_session>(session));
}

JNIEXPORT jbyteArray JNICALL Java_dev_tessera_Native_sessionSave(JNIEnv* env, jclass, jlong session,
                                                                 jlong options) {
  std::vector<char> state;
  size_t size = 0;
  for (;;) {
    if (!Resize(env, &state, size)) return nullptr;
    tsr_error* error = nullptr;
    const tsr_status status = tsr_session_save(Pointer<tsr_session>(session), Pointer<tsr_options>(options),
                                               state.data(), state.size(), &size, &error);
    if (status == TSR_STATUS_BUFFER_TOO_SMALL) {
      tsr_error_release(error);
      continue;
    }
    return Ok(env, status, error) ? tessera_jni::NewBytes(env, state.data(), size) : nullptr;
  }
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_sessionRestore(JNIEnv* env, jclass, jlong engine,
                                                               jbyteArray state, jlong options) {
  const Bytes bytes(env, state);
  if (!bytes.ok()) return 0;
  tsr_session* session = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_session_restore(Pointer<tsr_engine>(engine), bytes.data(), bytes.size(),
                                                Pointer<tsr_options>(options), &session, &error);
  return Ok(env, status, error) ? Handle(session) : 0;
}

JNIEXPORT jobjectArray JNICALL Java_dev_tessera_Native_stateProbe(JNIEnv* env, jclass, jbyteArray state,
                                                                  jlongArray integers) {
  const Bytes bytes(env, state);
  if (!bytes.ok()) return nullptr;
  tsr_state_info info = {};
  info.struct_size = sizeof(info);
  tsr_error* error = nullptr;
  const tsr_status status = tsr_state_probe(bytes.data(), bytes.size(), &info, &error);
  if (!Ok(env, status, error)) return nullptr;
  const jlong values[] = {static_cast<jlong>(info.size_bytes),
                          static_cast<jlong>(info.token_count),
                          static_cast<jlong>(info.cached_tokens),
                          info.version,
                          info.cache_type,
                          info.complete};
  env->SetLongArrayRegion(integers, 0, 6, values);
  if (env->ExceptionCheck()) return nullptr;
  jobjectArray hashes = tessera_jni::NewBytesArray(env, 2);
  if (hashes == nullptr) return nullptr;
  jbyteArray model = tessera_jni::NewBytes(env, info.model_hash, sizeof(info.model_hash));
  if (model == nullptr) return nullptr;
  env->SetObjectArrayElement(hashes, 0, model);
  if (env->ExceptionCheck()) return nullptr;
  jbyteArray tokenizer = tessera_jni::NewBytes(env, info.tokenizer_hash, sizeof(info.tokenizer_hash));
  if (tokenizer == nullptr) return nullptr;
  env->SetObjectArrayElement(hashes, 1, tokenizer);
  return hashes;
}

}  // extern "C"
