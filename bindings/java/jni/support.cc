// Failures, bytes and callbacks: see support.h. Also what happens when Java loads and unloads the library.
#include "support.h"

#include <pthread.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <new>

#include "dev_tessera_Native.h"

namespace tessera_jni {
namespace {

// Set while Java loads the library, before any other call, and not changed until it is unloaded.
JavaVM* machine = nullptr;
pthread_key_t attached_key;
jclass exception_class = nullptr;
jclass bytes_class = nullptr;
jmethodID exception_constructor = nullptr;
Methods methods;

std::atomic<int> global_references{0};
std::atomic<int> attached_threads{0};

struct Kept {
  jobject object;
};

// Runs at the end of each thread that Environment() attached.
void Detach(void* attached) {
  if (attached == nullptr) return;
  --attached_threads;
  machine->DetachCurrentThread();
}

jclass KeepClass(JNIEnv* env, const char* name) {
  jclass local = env->FindClass(name);
  if (local == nullptr) return nullptr;
  jclass kept = static_cast<jclass>(env->NewGlobalRef(local));
  env->DeleteLocalRef(local);
  return kept;
}

jmethodID Method(JNIEnv* env, const char* class_name, const char* name, const char* signature) {
  jclass local = env->FindClass(class_name);
  if (local == nullptr) return nullptr;
  jmethodID method = env->GetMethodID(local, name, signature);
  env->DeleteLocalRef(local);
  return method;
}

void ThrowNew(JNIEnv* env, const char* class_name, const char* message) {
  if (env->ExceptionCheck()) return;
  jclass local = env->FindClass(class_name);
  if (local == nullptr) return;
  env->ThrowNew(local, message);
  env->DeleteLocalRef(local);
}

void ThrowParts(JNIEnv* env, tsr_status status, const char* message, size_t message_size, const char* place,
                size_t place_size) {
  if (env->ExceptionCheck()) return;
  jbyteArray text = NewBytes(env, message, message_size);
  if (text == nullptr) return;
  jbyteArray where = NewBytes(env, place, place_size);
  if (where == nullptr) return;
  jobject thrown =
      env->NewObject(exception_class, exception_constructor, static_cast<jint>(status), text, where);
  if (thrown != nullptr) env->Throw(static_cast<jthrowable>(thrown));
  env->DeleteLocalRef(text);
  env->DeleteLocalRef(where);
  if (thrown != nullptr) env->DeleteLocalRef(thrown);
}

bool Load(JNIEnv* env) {
  exception_class = KeepClass(env, "dev/tessera/TesseraException");
  bytes_class = KeepClass(env, "[B");
  if (exception_class == nullptr || bytes_class == nullptr) return false;
  exception_constructor = env->GetMethodID(exception_class, "<init>", "(I[B[B)V");
  if (exception_constructor == nullptr) return false;
  methods.log_write = Method(env, "dev/tessera/Callbacks$Log", "write", "(I[B)V");
  if (methods.log_write == nullptr) return false;
  methods.progress_go_on = Method(env, "dev/tessera/Callbacks$Progress", "goOn", "(JJ)Z");
  if (methods.progress_go_on == nullptr) return false;
  methods.read_at = Method(env, "dev/tessera/Callbacks$Read", "readAt", "(JJJ)J");
  return methods.read_at != nullptr;
}

}  // namespace

bool Ok(JNIEnv* env, tsr_status status, tsr_error* error) {
  if (status == TSR_STATUS_OK) return true;
  size_t message_size = 0;
  size_t place_size = 0;
  const char* message = tsr_error_message(error, &message_size);
  const char* place = tsr_error_place(error, &place_size);
  ThrowParts(env, status, message, message_size, place, place_size);
  tsr_error_release(error);
  return false;
}

void Throw(JNIEnv* env, tsr_status status, const char* message, const char* place) {
  ThrowParts(env, status, message, std::strlen(message), place, std::strlen(place));
}

void ThrowOutOfMemory(JNIEnv* env) {
  ThrowNew(env, "java/lang/OutOfMemoryError", "native memory of the Tessera binding");
}

void ThrowNull(JNIEnv* env) { ThrowNew(env, "java/lang/NullPointerException", "an argument is null"); }

Bytes::Bytes(JNIEnv* env, jbyteArray array) {
  if (array == nullptr) {
    ThrowNull(env);
    return;
  }
  const jsize size = env->GetArrayLength(array);
  if (!Resize(env, &data_, static_cast<size_t>(size))) return;
  env->GetByteArrayRegion(array, 0, size, reinterpret_cast<jbyte*>(data_.data()));
  ok_ = !env->ExceptionCheck();
}

jbyteArray NewBytes(JNIEnv* env, const void* data, size_t size) {
  if (size > static_cast<size_t>(std::numeric_limits<jsize>::max())) {
    ThrowOutOfMemory(env);
    return nullptr;
  }
  jbyteArray array = env->NewByteArray(static_cast<jsize>(size));
  if (array == nullptr) return nullptr;
  if (size > 0) {
    env->SetByteArrayRegion(array, 0, static_cast<jsize>(size), static_cast<const jbyte*>(data));
  }
  return array;
}

jintArray NewInts(JNIEnv* env, const int32_t* values, size_t count) {
  if (count > static_cast<size_t>(std::numeric_limits<jsize>::max())) {
    ThrowOutOfMemory(env);
    return nullptr;
  }
  jintArray array = env->NewIntArray(static_cast<jsize>(count));
  if (array == nullptr) return nullptr;
  if (count > 0) env->SetIntArrayRegion(array, 0, static_cast<jsize>(count), values);
  return array;
}

jobjectArray NewBytesArray(JNIEnv* env, size_t count) {
  return env->NewObjectArray(static_cast<jsize>(count), bytes_class, nullptr);
}

JNIEnv* Environment() {
  void* env = nullptr;
  if (machine->GetEnv(&env, JNI_VERSION_10) == JNI_OK) return static_cast<JNIEnv*>(env);
  JavaVMAttachArgs args = {JNI_VERSION_10, const_cast<char*>("tessera"), nullptr};
  if (machine->AttachCurrentThreadAsDaemon(&env, &args) != JNI_OK) return nullptr;
  if (pthread_setspecific(attached_key, machine) != 0) {
    machine->DetachCurrentThread();
    return nullptr;
  }
  ++attached_threads;
  return static_cast<JNIEnv*>(env);
}

void* KeepObject(JNIEnv* env, jobject object) {
  if (object == nullptr) {
    ThrowNull(env);
    return nullptr;
  }
  Kept* kept = new (std::nothrow) Kept{nullptr};
  if (kept != nullptr) kept->object = env->NewGlobalRef(object);
  if (kept == nullptr || kept->object == nullptr) {
    delete kept;
    ThrowOutOfMemory(env);
    return nullptr;
  }
  ++global_references;
  return kept;
}

jobject KeptObject(void* user) { return static_cast<Kept*>(user)->object; }

void DropObject(void* user) {
  Kept* kept = static_cast<Kept*>(user);
  JNIEnv* env = Environment();
  // Without an environment the virtual machine is going down, and its references with it.
  if (env != nullptr) env->DeleteGlobalRef(kept->object);
  --global_references;
  delete kept;
}

bool TakeException(JNIEnv* env) {
  if (!env->ExceptionCheck()) return false;
  env->ExceptionClear();
  return true;
}

const Methods& CallbackMethods() { return methods; }

}  // namespace tessera_jni

extern "C" {

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* vm, void*) {
  void* env = nullptr;
  if (vm->GetEnv(&env, JNI_VERSION_10) != JNI_OK) return JNI_ERR;
  if (pthread_key_create(&tessera_jni::attached_key, tessera_jni::Detach) != 0) return JNI_ERR;
  tessera_jni::machine = vm;
  return tessera_jni::Load(static_cast<JNIEnv*>(env)) ? JNI_VERSION_10 : JNI_ERR;
}

// The library itself stays mapped (it is linked with nodelete): threads of it that end later still detach.
JNIEXPORT void JNICALL JNI_OnUnload(JavaVM* vm, void*) {
  void* env = nullptr;
  if (vm->GetEnv(&env, JNI_VERSION_10) != JNI_OK) return;
  static_cast<JNIEnv*>(env)->DeleteGlobalRef(tessera_jni::exception_class);
  static_cast<JNIEnv*>(env)->DeleteGlobalRef(tessera_jni::bytes_class);
}

JNIEXPORT jint JNICALL Java_dev_tessera_Native_globalReferences(JNIEnv*, jclass) {
  return tessera_jni::global_references.load();
}

JNIEXPORT jint JNICALL Java_dev_tessera_Native_attachedThreads(JNIEnv*, jclass) {
  return tessera_jni::attached_threads.load();
}

JNIEXPORT jbyteArray JNICALL Java_dev_tessera_Native_version(JNIEnv* env, jclass) {
  const char* version = tsr_version_string();
  return tessera_jni::NewBytes(env, version, std::strlen(version));
}

JNIEXPORT jbyteArray JNICALL Java_dev_tessera_Native_statusName(JNIEnv* env, jclass, jint status) {
  const char* name = tsr_status_name(status);
  return tessera_jni::NewBytes(env, name, std::strlen(name));
}

}  // extern "C"
