// A program that ends in the middle of things, for ExitTest to run. Usage: ExitHost reader|progress|running MODEL.gguf
package dev.tessera;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

final class ExitHost {
  private ExitHost() {}

  public static void main(String[] arguments) throws Exception {
    Path file = Path.of(arguments[1]);
    switch (arguments[0]) {
      case "reader" -> {
        byte[] bytes = Files.readAllBytes(file);
        ModelReader reader =
            new ModelReader() {
              @Override
              public long size() {
                return bytes.length;
              }

              @Override
              public void read(long offset, ByteBuffer buffer) {
                if (offset > 0) {
                  System.exit(7);
                }
                buffer.put(bytes, 0, buffer.remaining());
              }
            };
        Model.load(Runtime.create(), reader, new ModelOptions().readThreads(4).loadThreads(4));
      }
      case "progress" -> {
        ModelOptions options =
            new ModelOptions()
                .progress(
                    (done, total) -> {
                      System.exit(7);
                      return true;
                    });
        Model.load(Runtime.create(), file, options);
      }
      default -> { // Nothing is closed, and 64 requests run.
        Engine engine =
            Engine.create(Model.load(Runtime.create(), file), new EngineOptions().cacheTokens(64 * 256));
        for (int i = 0; i < 64; ++i) {
          Session session = engine.newSession();
          session.appendText("hello");
          session.generate(new GenerateOptions().maxTokens(-1).ignoreEnd(true));
        }
      }
    }
  }
}
