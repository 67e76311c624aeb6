// What all native functions of the Java binding share: failures as TesseraException, bytes to and from Java,
// and callbacks from any thread into Java. Knows nothing of models or sessions.
#ifndef TESSERA_BINDINGS_JAVA_JNI_SUPPORT_H_
#define TESSERA_BINDINGS_JAVA_JNI_SUPPORT_H_

#include <jni.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tessera/tessera.h"

namespace tessera_jni {

// Throws `error` as a TesseraException, takes it, and answers false; true where `status` is OK.
bool Ok(JNIEnv* env, tsr_status status, tsr_error* error);

// Throws a TesseraException that is the binding's own, with `place` as its place.
void Throw(JNIEnv* env, tsr_status status, const char* message, const char* place);

template <typename T>
T* Pointer(jlong handle) {
  return reinterpret_cast<T*>(static_cast<intptr_t>(handle));
}

inline jlong Handle(const void* pointer) { return static_cast<jlong>(reinterpret_cast<intptr_t>(pointer)); }

// An array's elements as a copy. `ok` is false, and an exception pending, when there was no memory or the
// array is null.
class Bytes {
 public:
  Bytes(JNIEnv* env, jbyteArray array);
  bool ok() const { return ok_; }
  const char* data() const { return data_.data(); }
  size_t size() const { return data_.size(); }

 private:
  std::vector<char> data_;
  bool ok_ = false;
};

// Makes a vector of `count` elements; where memory is short, an OutOfMemoryError is pending and it answers
// false.
template <typename T>
bool Resize(JNIEnv* env, std::vector<T>* values, size_t count);

void ThrowOutOfMemory(JNIEnv* env);
void ThrowNull(JNIEnv* env);

// Java arrays of native values; null with an exception pending when they cannot be made.
jbyteArray NewBytes(JNIEnv* env, const void* data, size_t size);
jintArray NewInts(JNIEnv* env, const int32_t* values, size_t count);

// An array of byte arrays, for NewBytesArray's caller to fill.
jobjectArray NewBytesArray(JNIEnv* env, size_t count);

// The calling thread's environment. A thread that Java does not know is attached as a daemon, and detached
// when it ends. Null where the virtual machine takes no more threads.
JNIEnv* Environment();

// An object that native code keeps alive, as the `user` of a callback table.
void* KeepObject(JNIEnv* env, jobject object);

// The object of `user`; valid as long as `user`.
jobject KeptObject(void* user);

// Lets the object go: the `drop` of a callback table.
void DropObject(void* user);

// Answers whether an exception was pending, and takes it away: adapters in Java let none out, but for those
// of the virtual machine itself.
bool TakeException(JNIEnv* env);

// Methods of the adapters in Callbacks.java.
struct Methods {
  jmethodID log_write;
  jmethodID progress_go_on;
  jmethodID read_at;
};
const Methods& CallbackMethods();

template <typename T>
bool Resize(JNIEnv* env, std::vector<T>* values, size_t count) {
  try {
    values->resize(count);
    return true;
  } catch (...) {
    ThrowOutOfMemory(env);
    return false;
  }
}

}  // namespace tessera_jni

#endif  // TESSERA_BINDINGS_JAVA_JNI_SUPPORT_H_
