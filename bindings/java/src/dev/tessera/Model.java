// A loaded model.
package dev.tessera;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ref.Cleaner;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/** A model file (GGUF) that was read, checked and laid out. Immutable; safe for use by several threads. */
public final class Model implements AutoCloseable {
  private static final int COPY = 0;
  private static final int BORROW = 1;

  final NativeHandle handle;
  final NativeHandle runtime;
  private final Cleaner.Cleanable net;

  private Model(Runtime runtime, long pointer, Object kept) {
    this.runtime = runtime.handle;
    handle = new NativeHandle("model", pointer, Native::modelRelease, kept);
    net = handle.closeWith(this);
  }

  /** Loads a model from a file. */
  public static Model load(Runtime runtime, Path file) {
    return load(runtime, file, new ModelOptions());
  }

  /** Loads a model from a file; blocks until it is loaded. */
  public static Model load(Runtime runtime, Path file, ModelOptions options) {
    byte[] path = Utf8.encode(file.toString());
    long pointer =
        runtime.handle.call(parent -> options.use(settings -> Native.modelLoadFile(parent, path, settings)));
    return new Model(runtime, pointer, null);
  }

  /** Loads a model from memory, which is not needed afterwards. */
  public static Model load(Runtime runtime, byte[] bytes, ModelOptions options) {
    long pointer =
        runtime.handle.call(parent -> options.use(settings -> Native.modelLoadBytes(parent, bytes, settings)));
    return new Model(runtime, pointer, null);
  }

  /** Loads a model from a direct buffer's remaining bytes, which are not needed afterwards. */
  public static Model load(Runtime runtime, ByteBuffer buffer, ModelOptions options) {
    return new Model(runtime, loadBuffer(runtime, buffer, COPY, options), null);
  }

  /**
   * Loads a model that may use a direct buffer's remaining bytes for as long as anything of it lives: they must not
   * change. The buffer is kept reachable.
   */
  public static Model borrow(Runtime runtime, ByteBuffer buffer, ModelOptions options) {
    return new Model(runtime, loadBuffer(runtime, buffer, BORROW, options), buffer);
  }

  private static long loadBuffer(Runtime runtime, ByteBuffer buffer, int mode, ModelOptions options) {
    if (!buffer.isDirect()) {
      throw new IllegalArgumentException("the buffer is not direct");
    }
    return runtime.handle.call(
        parent ->
            options.use(
                settings ->
                    Native.modelLoadBuffer(parent, buffer, buffer.position(), buffer.remaining(), mode, settings)));
  }

  /** Loads a model through the program's own reader. */
  public static Model load(Runtime runtime, ModelReader reader, ModelOptions options) {
    Callbacks.Read read = new Callbacks.Read(Objects.requireNonNull(reader));
    long size;
    try {
      size = reader.size();
    } catch (IOException error) {
      throw new UncheckedIOException("asking the model's reader for the size", error);
    }
    long pointer =
        runtime.handle.call(
            parent ->
                Callbacks.withCause(
                    options,
                    read,
                    () -> options.use(settings -> Native.modelLoadReader(parent, read, size, settings))));
    return new Model(runtime, pointer, null);
  }

  /** What the model is. */
  public ModelInfo info() {
    long[] integers = new long[10];
    byte[][] rest = handle.call(model -> Native.modelInfo(model, integers));
    return ModelInfo.of(integers, rest);
  }

  /** Keys of the file's metadata, in its order. */
  public List<String> metadataKeys() {
    return Arrays.stream(handle.call(Native::modelMetadataKeys)).map(Utf8::decode).toList();
  }

  /**
   * A metadata value: a {@code List<Long>} for integers and booleans, {@code List<Double>} or {@code List<String>}, of
   * one element for a scalar; empty when the file has no such key.
   */
  public Optional<List<?>> metadata(String key) {
    Object value;
    try {
      value = handle.call(model -> Native.modelMetadata(model, Utf8.encode(key)));
    } catch (TesseraException error) {
      if (error.status() == Status.NOT_FOUND) {
        return Optional.empty();
      }
      throw error;
    }
    if (value instanceof long[] integers) {
      return Optional.of(Arrays.stream(integers).boxed().toList());
    }
    if (value instanceof double[] numbers) {
      return Optional.of(Arrays.stream(numbers).boxed().toList());
    }
    return Optional.of(Arrays.stream((byte[][]) value).map(Utf8::decode).toList());
  }

  /** Text to tokens. */
  public int[] tokenize(String text, TextFlag... flags) {
    return handle.call(model -> Native.modelTokenize(model, Utf8.encode(text), TextFlag.bits(flags)));
  }

  /** Tokens to text; what is cut inside a code point becomes U+FFFD. */
  public String detokenize(int[] tokens, TextFlag... flags) {
    return Utf8.decode(detokenizeToBytes(tokens, flags));
  }

  /** Tokens to bytes, exactly. */
  public byte[] detokenizeToBytes(int[] tokens, TextFlag... flags) {
    return handle.call(model -> Native.modelDetokenize(model, tokens, TextFlag.bits(flags)));
  }

  /** The text that the model's chat template makes of a conversation. */
  public String applyChatTemplate(List<Message> messages, ChatOptions options) {
    return applyChatTemplate(Message.toJson(messages), options);
  }

  /** The same for messages with further fields: a JSON array of objects. */
  public String applyChatTemplate(String json, ChatOptions options) {
    return Utf8.decode(
        handle.call(
            model -> options.use(settings -> Native.modelApplyChatTemplate(model, Utf8.encode(json), settings))));
  }

  @Override
  public void close() {
    net.clean();
  }
}
