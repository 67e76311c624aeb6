// A program may end inside a callback, or with everything open: it ends with its own status, and does not crash or hang.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

final class ExitTest {
  private static void expect(int status, String mode) throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xcheck:jni",
                "-Djava.io.tmpdir=" + System.getProperty("java.io.tmpdir"),
                "-cp",
                System.getProperty("java.class.path"),
                "dev.tessera.ExitHost",
                mode,
                Fixture.MODEL.toString())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertTrue(process.waitFor(60, TimeUnit.SECONDS), "the program hangs");
    assertEquals(status, process.exitValue(), output);
    assertEquals("", output);
  }

  @Test
  void exitInsideAReaderEndsTheProgramWithItsStatus() throws Exception {
    expect(7, "reader");
  }

  @Test
  void exitInsideProgressEndsTheProgramWithItsStatus() throws Exception {
    expect(7, "progress");
  }

  @Test
  void aProgramThatClosesNothingEndsWhileRequestsRun() throws Exception {
    for (int i = 0; i < 5; ++i) {
      expect(0, "running");
    }
  }
}
