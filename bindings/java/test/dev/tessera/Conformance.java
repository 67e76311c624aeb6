// Runs the list of scenarios that every binding runs, and compares with the C API's results. Steps are carried out in
// ConformanceSteps. Usage: Conformance SCENARIOS.json FOLDER
package dev.tessera;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

final class Conformance {
  private Conformance() {}

  // Whether `actual` is what was expected: numbers with a point to within the tolerance, all else exactly.
  static boolean same(Object expected, Object actual, double tolerance) {
    if (expected instanceof Double number) {
      return actual instanceof Number && Math.abs(number - ((Number) actual).doubleValue()) <= tolerance;
    }
    if (expected instanceof Long number) {
      return (actual instanceof Integer || actual instanceof Long) && number == ((Number) actual).longValue();
    }
    if (expected instanceof List<?> list) {
      if (!(actual instanceof List<?> other) || list.size() != other.size()) {
        return false;
      }
      for (int i = 0; i < list.size(); ++i) {
        if (!same(list.get(i), other.get(i), tolerance)) {
          return false;
        }
      }
      return true;
    }
    if (expected instanceof Map<?, ?> map) {
      return actual instanceof Map<?, ?> other
          && map.keySet().equals(other.keySet())
          && map.keySet().stream().allMatch(key -> same(map.get(key), other.get(key), tolerance));
    }
    return expected.equals(actual);
  }

  // What is wrong with what a step gave, or null.
  private static String wrong(Map<String, Object> step, Map<String, Object> given, double tolerance) {
    Map<String, Object> expected = ConformanceSteps.map(step.get("expect"));
    if (expected == null) {
      return given.containsKey("status") ? "failed: " + Json.write(given) : null;
    }
    if (expected.containsKey("status")) {
      boolean agrees =
          expected.get("status").equals(given.get("status"))
              && (!expected.containsKey("place") || expected.get("place").equals(given.get("place")));
      return agrees ? null : "gave " + Json.write(given) + ", expected " + Json.write(expected);
    }
    return same(expected, given, tolerance) ? null : "gave " + Json.write(given) + ", expected " + Json.write(expected);
  }

  private static boolean run(Map<String, Object> scenario, Path list, Path folder, double tolerance, PrintStream out) {
    Object name = scenario.get("name");
    int number = 0;
    try (ConformanceSteps steps = new ConformanceSteps(list, folder, tolerance)) {
      for (Object each : (List<?>) scenario.get("steps")) {
        Map<String, Object> step = ConformanceSteps.map(each);
        try {
          String wrong = wrong(step, steps.run(step), tolerance);
          if (wrong != null) {
            out.println("FAILED " + name + ": step " + number + " " + step.get("do") + " " + wrong);
            return false;
          }
        } catch (ConformanceSteps.Skipped skipped) {
          out.println("skipped " + name + ": step " + number + " " + step.get("do") + ": " + skipped.getMessage());
        }
        ++number;
      }
    } catch (Exception error) {
      out.println("FAILED " + name + ": step " + number + " threw " + error);
      error.printStackTrace(out);
      return false;
    }
    out.println("ok " + name);
    return true;
  }

  public static void main(String[] arguments) throws Exception {
    Path file = Path.of(arguments[0]);
    Map<String, Object> list = ConformanceSteps.map(Json.parse(Files.readString(file)));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    int failed = 0;
    List<?> scenarios = (List<?>) list.get("scenarios");
    for (Object scenario : scenarios) {
      double tolerance = ((Number) list.get("tolerance")).doubleValue();
      if (!run(ConformanceSteps.map(scenario), file, Path.of(arguments[1]), tolerance, out)) {
        ++failed;
      }
    }
    out.println(scenarios.size() + " scenarios, " + failed + " failed");
    System.exit(failed == 0 && !scenarios.isEmpty() ? 0 : 1);
  }
}
