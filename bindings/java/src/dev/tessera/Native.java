// The native functions of libtessera_jni.so and nothing else: pointers are longs, text is UTF-8 bytes, failures are
// thrown as TesseraException. Whoever calls them makes sure that a pointer is live (NativeHandle does).
package dev.tessera;

import java.nio.ByteBuffer;

final class Native {
  static {
    NativeLibrary.load();
  }

  private Native() {}

  static native byte[] version();

  static native byte[] statusName(int status);

  // Options.
  static native long optionsCreate();

  static native void optionsRelease(long options);

  static native void optionsSetInt(long options, byte[] key, long value);

  static native void optionsSetFloat(long options, byte[] key, double value);

  static native void optionsSetBool(long options, byte[] key, boolean value);

  static native void optionsSetString(long options, byte[] key, byte[] value);

  static native void optionsSetInts(long options, byte[] key, long[] values);

  static native void optionsSetFloats(long options, byte[] key, double[] values);

  static native void optionsSetStrings(long options, byte[] key, byte[][] values);

  static native void optionsSetPointer(long options, byte[] key, long value);

  static native void optionsSetLog(long options, byte[] key, Callbacks.Log log);

  static native void optionsSetProgress(long options, byte[] key, Callbacks.Progress progress);

  // Runtime and plans.
  static native long runtimeCreate(long options);

  static native void runtimeClose(long runtime);

  static native void runtimeRelease(long runtime);

  static native void planFile(long runtime, byte[] path, long options, long[] integers, double[] rates);

  // Model.
  static native long modelLoadFile(long runtime, byte[] path, long options);

  static native long modelLoadBytes(long runtime, byte[] data, long options);

  static native long modelLoadBuffer(long runtime, ByteBuffer data, int offset, int size, int mode, long options);

  static native long modelLoadReader(long runtime, Callbacks.Read reader, long size, long options);

  static native void modelRelease(long model);

  static native byte[][] modelInfo(long model, long[] integers);

  static native byte[][] modelMetadataKeys(long model);

  static native Object modelMetadata(long model, byte[] key);

  static native int[] modelTokenize(long model, byte[] text, int flags);

  static native byte[] modelDetokenize(long model, int[] tokens, int flags);

  static native byte[] modelApplyChatTemplate(long model, byte[] messages, long options);

  // Copies `size` bytes from the start of a direct buffer to where a reader was asked to put them.
  static native void copy(ByteBuffer from, int size, long to);

  // Queue.
  static native long queueCreate(long runtime);

  // Bytes written; -n: the first record alone needs n bytes.
  static native int queuePoll(long queue, long timeoutNs, ByteBuffer buffer);

  static native void queueWake(long queue);

  static native void queueRelease(long queue);

  // Engine.
  static native long engineCreate(long model, long options);

  static native void engineStep(long engine, long budgetNs, long[] stats);

  static native void engineServe(long engine);

  static native void engineMetrics(long engine, long[] counters, long[] regions);

  static native void engineClose(long engine);

  static native void engineRelease(long engine);

  // Session.
  static native long sessionCreate(long engine, long options);

  static native void sessionAppendText(long session, byte[] text, int flags);

  static native void sessionAppendChat(long session, byte[] messages, long options);

  static native void sessionAppendTokens(long session, int[] tokens);

  static native long sessionGenerate(long session, long options, long queue, long tag);

  static native long sessionFork(long session, long options);

  static native void sessionRewind(long session, long tokens);

  static native void sessionCancel(long session, int effect);

  static native long sessionTokenCount(long session);

  static native int[] sessionTokens(long session, long first);

  static native float[] sessionLogits(long session);

  static native void sessionPark(long session);

  static native void sessionRelease(long session);

  static native byte[] sessionSave(long session, long options);

  static native long sessionRestore(long engine, byte[] state, long options);

  static native byte[][] stateProbe(byte[] state, long[] integers);

  // How many objects the native side keeps alive in Java, and threads that it attached: for tests of leaks.
  static native int globalReferences();

  static native int attachedThreads();
}
