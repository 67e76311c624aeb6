// Native functions of runtimes, plans and models.
#include <cstring>
#include <initializer_list>

#include "dev_tessera_Native.h"
#include "support.h"

using tessera_jni::Bytes;
using tessera_jni::Handle;
using tessera_jni::Ok;
using tessera_jni::Pointer;
using tessera_jni::Resize;

namespace {

int64_t ReadAt(void* user, uint64_t offset, void* buffer, size_t size) {
  JNIEnv* env = tessera_jni::Environment();
  if (env == nullptr) return -1;
  const jlong done =
      env->CallLongMethod(tessera_jni::KeptObject(user), tessera_jni::CallbackMethods().read_at,
                          static_cast<jlong>(offset), Handle(buffer), static_cast<jlong>(size));
  return tessera_jni::TakeException(env) ? -1 : done;
}

void Store(JNIEnv* env, jlongArray array, std::initializer_list<int64_t> values) {
  std::vector<jlong> copy;
  if (!Resize(env, &copy, values.size())) return;
  size_t i = 0;
  for (const int64_t value : values) copy[i++] = static_cast<jlong>(value);
  env->SetLongArrayRegion(array, 0, static_cast<jsize>(copy.size()), copy.data());
}

bool StoreBytes(JNIEnv* env, jobjectArray array, jsize index, const void* data, size_t size) {
  jbyteArray bytes = tessera_jni::NewBytes(env, data, size);
  if (bytes == nullptr) return false;
  env->SetObjectArrayElement(array, index, bytes);
  env->DeleteLocalRef(bytes);
  return !env->ExceptionCheck();
}

jobject Integers(JNIEnv* env, const tsr_model* model, const Bytes& key, size_t count) {
  std::vector<jlong> values;
  if (!Resize(env, &values, count)) return nullptr;
  for (size_t i = 0; i < count; ++i) {
    int64_t value = 0;
    tsr_error* error = nullptr;
    const tsr_status status = tsr_model_metadata_int(model, key.data(), key.size(), i, &value, &error);
    if (!Ok(env, status, error)) return nullptr;
    values[i] = value;
  }
  jlongArray array = env->NewLongArray(static_cast<jsize>(count));
  if (array != nullptr) env->SetLongArrayRegion(array, 0, static_cast<jsize>(count), values.data());
  return array;
}

jobject Floats(JNIEnv* env, const tsr_model* model, const Bytes& key, size_t count) {
  std::vector<jdouble> values;
  if (!Resize(env, &values, count)) return nullptr;
  for (size_t i = 0; i < count; ++i) {
    tsr_error* error = nullptr;
    const tsr_status status = tsr_model_metadata_float(model, key.data(), key.size(), i, &values[i], &error);
    if (!Ok(env, status, error)) return nullptr;
  }
  jdoubleArray array = env->NewDoubleArray(static_cast<jsize>(count));
  if (array != nullptr) env->SetDoubleArrayRegion(array, 0, static_cast<jsize>(count), values.data());
  return array;
}

jobject Strings(JNIEnv* env, const tsr_model* model, const Bytes& key, size_t count) {
  jobjectArray array = tessera_jni::NewBytesArray(env, count);
  for (size_t i = 0; array != nullptr && i < count; ++i) {
    const char* value = nullptr;
    size_t size = 0;
    tsr_error* error = nullptr;
    const tsr_status status =
        tsr_model_metadata_string(model, key.data(), key.size(), i, &value, &size, &error);
    if (!Ok(env, status, error) || !StoreBytes(env, array, static_cast<jsize>(i), value, size))
      return nullptr;
  }
  return array;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_runtimeCreate(JNIEnv* env, jclass, jlong options) {
  tsr_runtime* runtime = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_runtime_create(Pointer<tsr_options>(options), &runtime, &error);
  return Ok(env, status, error) ? Handle(runtime) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_runtimeClose(JNIEnv* env, jclass, jlong runtime) {
  tsr_error* error = nullptr;
  const tsr_status status = tsr_runtime_close(Pointer<tsr_runtime>(runtime), &error);
  Ok(env, status, error);
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_runtimeRelease(JNIEnv*, jclass, jlong runtime) {
  tsr_runtime_release(Pointer<tsr_runtime>(runtime));
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_planFile(JNIEnv* env, jclass, jlong runtime, jbyteArray path,
                                                        jlong options, jlongArray integers,
                                                        jdoubleArray rates) {
  const Bytes name(env, path);
  if (!name.ok()) return;
  tsr_plan plan = {};
  plan.struct_size = sizeof(plan);
  tsr_error* error = nullptr;
  const tsr_status status = tsr_plan_file(Pointer<tsr_runtime>(runtime), name.data(), name.size(),
                                          Pointer<tsr_options>(options), &plan, &error);
  if (!Ok(env, status, error)) return;
  Store(env, integers,
        {static_cast<int64_t>(plan.host_bytes), static_cast<int64_t>(plan.host_weight_bytes),
         static_cast<int64_t>(plan.host_cache_bytes), static_cast<int64_t>(plan.host_scratch_bytes),
         static_cast<int64_t>(plan.host_object_bytes), static_cast<int64_t>(plan.device_bytes),
         static_cast<int64_t>(plan.nvme_bytes), plan.cache_tokens, plan.fitting_cache_tokens,
         plan.context_tokens, plan.fits, static_cast<int64_t>(plan.weight_bytes_per_token),
         static_cast<int64_t>(plan.cache_bytes_per_token)});
  if (env->ExceptionCheck()) return;
  const jdouble values[] = {plan.decode_tokens_per_second, plan.decode_tokens_per_second_full,
                            plan.prompt_tokens_per_second, plan.read_bandwidth, plan.products_per_second};
  env->SetDoubleArrayRegion(rates, 0, 5, values);
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_modelLoadFile(JNIEnv* env, jclass, jlong runtime,
                                                              jbyteArray path, jlong options) {
  const Bytes name(env, path);
  if (!name.ok()) return 0;
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_model_load_file(Pointer<tsr_runtime>(runtime), name.data(), name.size(),
                                                Pointer<tsr_options>(options), &model, &error);
  return Ok(env, status, error) ? Handle(model) : 0;
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_modelLoadBytes(JNIEnv* env, jclass, jlong runtime,
                                                               jbyteArray data, jlong options) {
  const Bytes bytes(env, data);
  if (!bytes.ok()) return 0;
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_model_load_memory(Pointer<tsr_runtime>(runtime), bytes.data(), bytes.size(), TSR_MEMORY_COPY,
                            Pointer<tsr_options>(options), &model, &error);
  return Ok(env, status, error) ? Handle(model) : 0;
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_modelLoadBuffer(JNIEnv* env, jclass, jlong runtime,
                                                                jobject data, jint offset, jint size,
                                                                jint mode, jlong options) {
  const char* start = static_cast<const char*>(env->GetDirectBufferAddress(data));
  if (start == nullptr) {
    tessera_jni::Throw(env, TSR_STATUS_INVALID_ARGUMENT, "the buffer has no address", "buffer");
    return 0;
  }
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status =
      tsr_model_load_memory(Pointer<tsr_runtime>(runtime), start + offset, static_cast<size_t>(size), mode,
                            Pointer<tsr_options>(options), &model, &error);
  return Ok(env, status, error) ? Handle(model) : 0;
}

JNIEXPORT jlong JNICALL Java_dev_tessera_Native_modelLoadReader(JNIEnv* env, jclass, jlong runtime,
                                                                jobject reader, jlong size, jlong options) {
  void* user = tessera_jni::KeepObject(env, reader);
  if (user == nullptr) return 0;
  const tsr_reader table = {sizeof(table), user, tessera_jni::DropObject, static_cast<uint64_t>(size),
                            ReadAt};
  tsr_model* model = nullptr;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_model_load_reader(Pointer<tsr_runtime>(runtime), &table,
                                                  Pointer<tsr_options>(options), &model, &error);
  return Ok(env, status, error) ? Handle(model) : 0;
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_copy(JNIEnv* env, jclass, jobject from, jint size, jlong to) {
  const void* start = env->GetDirectBufferAddress(from);
  if (start != nullptr) std::memcpy(Pointer<void>(to), start, static_cast<size_t>(size));
}

JNIEXPORT void JNICALL Java_dev_tessera_Native_modelRelease(JNIEnv*, jclass, jlong model) {
  tsr_model_release(Pointer<tsr_model>(model));
}

JNIEXPORT jobjectArray JNICALL Java_dev_tessera_Native_modelInfo(JNIEnv* env, jclass, jlong model,
                                                                 jlongArray integers) {
  tsr_model_info info = {};
  info.struct_size = sizeof(info);
  tsr_error* error = nullptr;
  const tsr_status status = tsr_model_get_info(Pointer<tsr_model>(model), &info, &error);
  if (!Ok(env, status, error)) return nullptr;
  Store(env, integers,
        {info.parameters, static_cast<int64_t>(info.weight_bytes), static_cast<int64_t>(info.bytes_per_token),
         info.vocabulary_size, info.context_tokens, info.layers, info.hidden_size, info.bos_token,
         info.end_token, static_cast<int64_t>(info.device_memory_bytes)});
  if (env->ExceptionCheck()) return nullptr;
  jobjectArray rest = tessera_jni::NewBytesArray(env, 4);
  if (rest == nullptr || !StoreBytes(env, rest, 0, info.hash, sizeof(info.hash)) ||
      !StoreBytes(env, rest, 1, info.tokenizer_hash, sizeof(info.tokenizer_hash)) ||
      !StoreBytes(env, rest, 2, info.device, strnlen(info.device, sizeof(info.device))) ||
      !StoreBytes(env, rest, 3, info.device_uuid, strnlen(info.device_uuid, sizeof(info.device_uuid)))) {
    return nullptr;
  }
  return rest;
}

JNIEXPORT jobjectArray JNICALL Java_dev_tessera_Native_modelMetadataKeys(JNIEnv* env, jclass, jlong model) {
  const tsr_model* of = Pointer<tsr_model>(model);
  const size_t count = tsr_model_metadata_count(of);
  jobjectArray keys = tessera_jni::NewBytesArray(env, count);
  for (size_t i = 0; keys != nullptr && i < count; ++i) {
    size_t size = 0;
    const char* key = tsr_model_metadata_key(of, i, &size);
    if (!StoreBytes(env, keys, static_cast<jsize>(i), key, size)) return nullptr;
  }
  return keys;
}

JNIEXPORT jobject JNICALL Java_dev_tessera_Native_modelMetadata(JNIEnv* env, jclass, jlong model,
                                                                jbyteArray key) {
  const Bytes name(env, key);
  if (!name.ok()) return nullptr;
  const tsr_model* of = Pointer<tsr_model>(model);
  int32_t kind = 0;
  size_t count = 0;
  tsr_error* error = nullptr;
  const tsr_status status = tsr_model_metadata_kind(of, name.data(), name.size(), &kind, &count, &error);
  if (!Ok(env, status, error)) return nullptr;
  switch (kind) {
    case TSR_METADATA_INT:
      return Integers(env, of, name, count);
    case TSR_METADATA_FLOAT:
      return Floats(env, of, name, count);
    case TSR_METADATA_STRING:
      return Strings(env, of, name, count);
    default:
      tessera_jni::Throw(env, TSR_STATUS_UNSUPPORTED, "a kind of metadata that this binding does not know",
                         "");
      return nullptr;
  }
}

JNIEXPORT jintArray JNICALL Java_dev_tessera_Native_modelTokenize(JNIEnv* env, jclass, jlong model,
                                                                  jbyteArray text, jint flags) {
  const Bytes bytes(env, text);
  if (!bytes.ok()) return nullptr;
  std::vector<int32_t> tokens;
  size_t count = bytes.size() + 8;  // Commonly enough at once: a token for each byte, and the special ones.
  for (;;) {
    if (!Resize(env, &tokens, count)) return nullptr;
    tsr_error* error = nullptr;
    const tsr_status status = tsr_model_tokenize(Pointer<tsr_model>(model), bytes.data(), bytes.size(), flags,
                                                 tokens.data(), tokens.size(), &count, &error);
    if (status == TSR_STATUS_BUFFER_TOO_SMALL) {
      tsr_error_release(error);
      continue;
    }
    return Ok(env, status, error) ? tessera_jni::NewInts(env, tokens.data(), count) : nullptr;
  }
}

JNIEXPORT jbyteArray JNICALL Java_dev_tessera_Native_modelDetokenize(JNIEnv* env, jclass, jlong model,
                                                                     jintArray tokens, jint flags) {
  if (tokens == nullptr) {
    tessera_jni::ThrowNull(env);
    return nullptr;
  }
  std::vector<int32_t> ids;
  const jsize id_count = env->GetArrayLength(tokens);
  if (!Resize(env, &ids, static_cast<size_t>(id_count))) return nullptr;
  env->GetIntArrayRegion(tokens, 0, id_count, ids.data());
  if (env->ExceptionCheck()) return nullptr;
  std::vector<char> text;
  size_t size = ids.size() * 8;
  for (;;) {
    if (!Resize(env, &text, size)) return nullptr;
    tsr_error* error = nullptr;
    const tsr_status status = tsr_model_detokenize(Pointer<tsr_model>(model), ids.data(), ids.size(), flags,
                                                   text.data(), text.size(), &size, &error);
    if (status == TSR_STATUS_BUFFER_TOO_SMALL) {
      tsr_error_release(error);
      continue;
    }
    return Ok(env, status, error) ? tessera_jni::NewBytes(env, text.data(), size) : nullptr;
  }
}

JNIEXPORT jbyteArray JNICALL Java_dev_tessera_Native_modelApplyChatTemplate(JNIEnv* env, jclass, jlong model,
                                                                            jbyteArray messages,
                                                                            jlong options) {
  const Bytes json(env, messages);
  if (!json.ok()) return nullptr;
  std::vector<char> text;
  size_t size = json.size() + 1024;
  for (;;) {
    if (!Resize(env, &text, size)) return nullptr;
    tsr_error* error = nullptr;
    const tsr_status status =
        tsr_model_apply_chat_template(Pointer<tsr_model>(model), json.data(), json.size(),
                                      Pointer<tsr_options>(options), text.data(), text.size(), &size, &error);
    if (status == TSR_STATUS_BUFFER_TOO_SMALL) {
      tsr_error_release(error);
      continue;
    }
    return Ok(env, status, error) ? tessera_jni::NewBytes(env, text.data(), size) : nullptr;
  }
}

}  // extern "C"
