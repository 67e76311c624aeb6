// Finds libtessera_jni.so: where the property dev.tessera.library says, on java.library.path, or in the jar.
package dev.tessera;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

final class NativeLibrary {
  private static final String NAME = "libtessera_jni.so";
  private static final String NEEDED = "libtessera.so.0";

  private NativeLibrary() {}

  static void load() {
    String file = System.getProperty("dev.tessera.library");
    if (file != null) {
      System.load(Path.of(file).toAbsolutePath().toString());
      return;
    }
    UnsatisfiedLinkError onPath;
    try {
      System.loadLibrary("tessera_jni");
      return;
    } catch (UnsatisfiedLinkError error) {
      onPath = error;
    }
    String folder = "native/" + platform() + "/";
    if (NativeLibrary.class.getResource(folder + NAME) == null) {
      onPath.addSuppressed(new UnsatisfiedLinkError("the jar has no " + folder + NAME + " either"));
      throw onPath;
    }
    loadFromJar(folder);
  }

  // Both libraries go to one folder: the first one looks for the other beside itself. What is mapped needs no file,
  // so that nothing stays behind.
  private static void loadFromJar(String folder) {
    try {
      Path temporary = Files.createTempDirectory("tessera");
      Path library = temporary.resolve(NAME);
      Path needed = temporary.resolve(NEEDED);
      try {
        extract(folder + NAME, library);
        if (NativeLibrary.class.getResource(folder + NEEDED) != null) {
          extract(folder + NEEDED, needed);
        }
        System.load(library.toString());
      } finally {
        Files.deleteIfExists(library);
        Files.deleteIfExists(needed);
        Files.deleteIfExists(temporary);
      }
    } catch (IOException error) {
      throw new UncheckedIOException("extracting " + folder + NAME + " from the jar", error);
    }
  }

  private static void extract(String resource, Path to) throws IOException {
    try (InputStream from = NativeLibrary.class.getResourceAsStream(resource)) {
      Files.copy(from, to);
    }
  }

  static String platform() {
    String system = System.getProperty("os.name").toLowerCase(java.util.Locale.ROOT).replace(' ', '_');
    String machine = System.getProperty("os.arch");
    return system + "-" + (machine.equals("amd64") ? "x86_64" : machine);
  }
}
