// A program's own way of reading a model's bytes.
package dev.tessera;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;

/** Reads a model's bytes from wherever they are: an archive, a database, an encrypted file. */
public interface ModelReader {
  /** Bytes of the whole file. */
  long size() throws IOException;

  /**
   * Fills the buffer up to its limit with what is at {@code offset}. Less is an error of the load, and so is an
   * exception, which becomes its cause. One call at a time unless {@link ModelOptions#readThreads} allows more.
   */
  void read(long offset, ByteBuffer buffer) throws IOException;

  /** Reads from a channel, which stays the caller's. */
  static ModelReader of(FileChannel channel) {
    return new ModelReader() {
      @Override
      public long size() throws IOException {
        return channel.size();
      }

      @Override
      public void read(long offset, ByteBuffer buffer) throws IOException {
        int start = buffer.position();
        while (buffer.hasRemaining()) {
          if (channel.read(buffer, offset + buffer.position() - start) < 0) {
            return;
          }
        }
      }
    };
  }
}
