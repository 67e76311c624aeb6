// Native functions of settings, and the callbacks that are settings.
#include <cstring>

#include "dev_tessera_Native.h"
#include "support.h"

using tessera_jni::Bytes;
using tessera_jni::Ok;
using tessera_jni::Pointer;
using tessera_jni::Resize;

namespace {

void WriteLog(void* user, int32_t level, const char* message, size_t message_size) {
  JNIEnv* env = tessera_jni::Environment();
  if (env == nullptr) return;
  jbyteArray text = tessera_jni::NewBytes(env, message, message_size);
  if (text != nullptr) {
    env->CallVoidMethod(tessera_jni::KeptObject(user), tessera_jni::CallbackMethods().log_write, level, text);
  }
  tessera_jni::TakeException(env);
  if (text != nullptr) env->DeleteLocalRef(text);
}

int32_t ShowProgress(void* user, uint64_t done_bytes, uint64_t total_bytes) {
  JNIEnv* env = tessera_jni::Environment();
  if (env == nullptr) return 1;
  const jboolean go_on =
      env->CallBooleanMethod(tessera_jni::KeptObject(user), tessera_jni::CallbackMethods().progress_go_on,
                             static_cast<jlong>(done_bytes), static_cast<jlong>(total_bytes));
  if (tessera_jni::TakeException(env)) return 1;
  return go_on ? 0 : 1;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_optionsCreate(JNIEnv* env, jclass) {
  tsr_options* options = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_options_create(&options, &error);
  return Ok(env, status, error) ? tessera_jni::Handle(options) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsRelease(JNIEnv*, jclass, jlong options) {
  tsr_options_release(Pointer<tsr_options>(options));
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetInt(JNIEnv* env, jclass, jlong options,
                                                             jbyteArray key, jlong value) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_int(Pointer<tsr_options>(options), name.data(), name.size(), value, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetFloat(JNIEnv* env, jclass, jlong options,
                                                               jbyteArray key, jdouble value) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_float(Pointer<tsr_options>(options), name.data(), name.size(), value, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetBool(JNIEnv* env, jclass, jlong options,
                                                              jbyteArray key, jboolean value) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_bool(Pointer<tsr_options>(options), name.data(), name.size(), value, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetString(JNIEnv* env, jclass, jlong options,
                                                                jbyteArray key, jbyteArray value) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  const Bytes text(env, value);
  if (!text.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_options_set_string(Pointer<tsr_options>(options), name.data(), name.size(),
                                                   text.data(), text.size(), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetInts(JNIEnv* env, jclass, jlong options,
                                                              jbyteArray key, jlongArray values) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  if (values == nullptr) return tessera_jni::ThrowNull(env);
  const jsize count = env->GetArrayLength(values);
  std::vector<jlong> copy;
  if (!Resize(env, &copy, static_cast<size_t>(count))) return;
  env->GetLongArrayRegion(values, 0, count, copy.data());
  if (env->ExceptionCheck()) return;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_int_list(Pointer<tsr_options>(options), name.data(), name.size(),
                               reinterpret_cast<const int64_t*>(copy.data()), copy.size(), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetFloats(JNIEnv* env, jclass, jlong options,
                                                                jbyteArray key, jdoubleArray values) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  if (values == nullptr) return tessera_jni::ThrowNull(env);
  const jsize count = env->GetArrayLength(values);
  std::vector<jdouble> copy;
  if (!Resize(env, &copy, static_cast<size_t>(count))) return;
  env->GetDoubleArrayRegion(values, 0, count, copy.data());
  if (env->ExceptionCheck()) return;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_options_set_float_list(Pointer<tsr_options>(options), name.data(),
                                                       name.size(), copy.data(), copy.size(), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetStrings(JNIEnv* env, jclass, jlong options,
                                                                 jbyteArray key, jobjectArray values) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  if (values == nullptr) return tessera_jni::ThrowNull(env);
  const size_t count = static_cast<size_t>(env->GetArrayLength(values));
  std::vector<char> text;
  std::vector<size_t> sizes;
  std::vector<const char*> starts;
  if (!Resize(env, &sizes, count) || !Resize(env, &starts, count)) return;
  for (size_t i = 0; i < count; ++i) {
    jbyteArray value = static_cast<jbyteArray>(env->GetObjectArrayElement(values, static_cast<jsize>(i)));
    if (env->ExceptionCheck()) return;
    const Bytes bytes(env, value);
    if (!bytes.ok()) return;
    const size_t start = text.size();
    if (!Resize(env, &text, start + bytes.size())) return;
    if (bytes.size() > 0) std::memcpy(text.data() + start, bytes.data(), bytes.size());
    sizes[i] = bytes.size();
    env->DeleteLocalRef(value);
  }
  size_t start = 0;
  for (size_t i = 0; i < count; ++i) {
    starts[i] = text.data() + start;
    start += sizes[i];
  }
  tsr_error* error = nullptr;
  const tsr_status status = tsr_options_set_string_list(
      Pointer<tsr_options>(options), name.data(), name.size(), starts.data(), sizes.data(), count, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetPointer(JNIEnv* env, jclass, jlong options,
                                                                 jbyteArray key, jlong value) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_options_set_pointer(Pointer<tsr_options>(options), name.data(), name.size(),
                                                    Pointer<void>(value), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetLog(JNIEnv* env, jclass, jlong options,
                                                             jbyteArray key, jobject log) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  void* user = tessera_jni::KeepObject(env, log);
  if (user == nullptr) return;
  const tsr_log_callbacks table = {sizeof(table), user, tessera_jni::DropObject, WriteLog};
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_callbacks(Pointer<tsr_options>(options), name.data(), name.size(), &table, &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_optionsSetProgress(JNIEnv* env, jclass, jlong options,
                                                                  jbyteArray key, jobject progress) {
  const Bytes name(env, key);
  if (!name.ok()) return;
  void* user = tessera_jni::KeepObject(env, progress);
  if (user == nullptr) return;
  const tsr_progress_callbacks table = {sizeof(table), user, tessera_jni::DropObject, ShowProgress};
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_options_set_callbacks(Pointer<tsr_options>(options), name.data(), name.size(), &table, &error);
  Ok(env, status, error);
}

}  // extern "C"
