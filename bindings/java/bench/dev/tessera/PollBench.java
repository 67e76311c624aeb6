// Measures what Java adds to the engine: one poll's crossing with 64 sessions active, and tokens a second of one and of
// 64 sessions. Usage: PollBench MODEL.gguf; prints one JSON object a line.
package dev.tessera;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

final class PollBench {
  private static final int SESSIONS = 64;
  private static final int TOKENS = 48;
  private static final int REPEATS = 40;

  private PollBench() {}

  private static void print(String name, double value, String unit) {
    System.out.printf("{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}%n", name, value, unit);
  }

  private static double median(List<Double> values) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return sorted[sorted.length / 2];
  }

  // A stepped engine fills a queue of 64 sessions with one record each; then one poll takes them all.
  private static void crossing(Runtime runtime, Model model) {
    EngineOptions options = new EngineOptions().stepped(true).contextTokens(64).cacheTokens(SESSIONS * 64);
    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 18).order(ByteOrder.nativeOrder());
    List<Double> full = new ArrayList<>();
    List<Double> empty = new ArrayList<>();
    for (int repeat = 0; repeat < REPEATS; ++repeat) {
      try (Engine engine = Engine.create(model, options)) {
        long queue = runtime.handle.call(Native::queueCreate);
        long settings = Native.optionsCreate();
        Native.optionsSetInt(settings, Utf8.encode("request.max_tokens"), TOKENS);
        Native.optionsSetBool(settings, Utf8.encode("request.ignore_end"), true);
        long[] sessions = new long[SESSIONS];
        for (int i = 0; i < SESSIONS; ++i) {
          sessions[i] = engine.handle.call(live -> Native.sessionCreate(live, 0));
          Native.sessionAppendText(sessions[i], Utf8.encode("hello " + i), 0);
          Native.sessionGenerate(sessions[i], settings, queue, i);
        }
        for (int step = 0; step < 24; ++step) {
          engine.step(Duration.ofNanos(-1));
          long begin = System.nanoTime();
          int used = Native.queuePoll(queue, 0, buffer);
          long middle = System.nanoTime();
          Native.queuePoll(queue, 0, buffer);
          long end = System.nanoTime();
          int records = 0;
          for (int at = 0; at < used; at += buffer.getInt(at)) {
            ++records;
          }
          if (repeat >= REPEATS / 2 && records == SESSIONS) {
            full.add((middle - begin) / 1e3);
            empty.add((end - middle) / 1e3);
          }
        }
        Arrays.stream(sessions).forEach(Native::sessionRelease);
        Native.optionsRelease(settings);
        Native.queueRelease(queue);
      }
    }
    print("java_poll_64_records", median(full), "microseconds");
    print("java_poll_no_records", median(empty), "microseconds");
  }

  private static void rate(Model model, int count) throws InterruptedException {
    EngineOptions options = new EngineOptions().contextTokens(128).cacheTokens(count * 128L);
    GenerateOptions request = new GenerateOptions().maxTokens(TOKENS).ignoreEnd(true);
    List<Double> rates = new ArrayList<>();
    try (Engine engine = Engine.create(model, options)) {
      for (int repeat = 0; repeat < 7; ++repeat) {
        List<Session> sessions = new ArrayList<>();
        List<Request> requests = new ArrayList<>();
        for (int i = 0; i < count; ++i) {
          Session session = engine.newSession();
          session.appendText("hello");
          sessions.add(session);
        }
        long begin = System.nanoTime();
        sessions.forEach(session -> requests.add(session.generate(request)));
        for (Request each : requests) {
          each.await();
        }
        rates.add(count * TOKENS * 1e9 / (System.nanoTime() - begin));
        sessions.forEach(Session::close);
      }
    }
    print("java_tokens_" + count + "_sessions", median(rates), "tokens/s");
  }

  public static void main(String[] arguments) throws InterruptedException {
    try (Runtime runtime = Runtime.create();
        Model model = Model.load(runtime, Path.of(arguments[0]))) {
      crossing(runtime, model);
      rate(model, 1);
      rate(model, SESSIONS);
    }
  }
}
