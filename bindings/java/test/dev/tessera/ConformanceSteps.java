// Carries out the steps of one conformance scenario through the public Java API. Where Java's shape differs from C's it
// says so: an engine has a queue of its own, so a scenario's queue is here a list of requests; a closed handle is an
// IllegalStateException, which counts as CLOSED of what its message names.
package dev.tessera;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

final class ConformanceSteps implements AutoCloseable {
  // A step that Java's types make impossible.
  static final class Skipped extends Exception {
    private static final long serialVersionUID = 1;

    Skipped(String reason) {
      super(reason);
    }
  }

  // A scenario's queue: its requests by tag, and how much of each was reported.
  private static final class Queue {
    final Runtime runtime;
    final TreeMap<Long, Reported> requests = new TreeMap<>();

    Queue(Runtime runtime) {
      this.runtime = runtime;
    }
  }

  private static final class Reported {
    final Request request;
    int tokens;
    boolean finish;

    Reported(Request request) {
      this.request = request;
    }
  }

  private static final long PATIENCE_MS = 60_000;

  private final Path list;
  private final Path folder;
  private final double tolerance;
  private final Map<String, Object> things = new LinkedHashMap<>();
  private final Map<String, byte[]> states = new HashMap<>();
  private final Map<Object, Runtime> runtimes = new HashMap<>();
  private final Map<Session, Request> latest = new HashMap<>();
  private final Set<String> stepped = new HashSet<>();
  private final Set<String> called = new HashSet<>();
  private boolean idle;

  ConformanceSteps(Path list, Path folder, double tolerance) {
    this.list = list;
    this.folder = folder;
    this.tolerance = tolerance;
  }

  @SuppressWarnings("unchecked")
  static Map<String, Object> map(Object value) {
    return (Map<String, Object>) value;
  }

  @Override
  public void close() {
    List.copyOf(things.keySet()).forEach(this::release);
  }

  Map<String, Object> run(Map<String, Object> step) throws Exception {
    try {
      Map<String, Object> given = carryOut(step);
      return given == null ? Map.of() : given;
    } catch (TesseraException error) {
      return Map.of("status", Utf8.decode(Native.statusName(error.code())), "place", error.place());
    } catch (IllegalStateException closed) {
      String thing = closed.getMessage().replaceAll("^the (\\w+) is closed$", "$1");
      return Map.of("status", "TSR_STATUS_CLOSED", "place", thing);
    }
  }

  private Map<String, Object> carryOut(Map<String, Object> step) throws Exception {
    switch ((String) step.get("do")) {
      case "runtime":
        return make(step, Runtime.create(options(step, new RuntimeOptions())), null);
      case "load":
        return make(step, load(step), thing(step, "runtime", Runtime.class));
      case "engine":
        return engine(step);
      case "queue":
        return queue(step);
      case "session":
        {
          Engine engine = thing(step, "engine", Engine.class);
          return make(step, engine.newSession(options(step, new SessionOptions())), runtimes.get(engine));
        }
      case "fork":
        {
          Session session = session(step);
          return make(step, session.fork(options(step, new SessionOptions())), runtimes.get(session));
        }
      case "close":
        end(things.get(step.get("name")));
        return null;
      case "release":
        release((String) step.get("name"));
        return null;
      case "model_info":
        return info(model(step).info());
      case "metadata":
        return metadata(step);
      case "tokenize":
        return Map.of("tokens", ints(model(step).tokenize((String) step.get("text"), flags(step))));
      case "detokenize":
        return Map.of("text", model(step).detokenize(array(step), flags(step)));
      case "chat_template":
        return Map.of(
            "text", model(step).applyChatTemplate(Json.write(step.get("messages")), options(step, new ChatOptions())));
      case "append_text":
        if (step.containsKey("bytes")) {
          throw new Skipped("a String is always Unicode");
        }
        session(step).appendText((String) step.get("text"), flags(step));
        return null;
      case "append_tokens":
        session(step).appendTokens(array(step));
        return null;
      case "append_chat":
        session(step).appendChat(Json.write(step.get("messages")), options(step, new ChatOptions()));
        return null;
      case "generate":
        return generate(step);
      case "wait":
        return await(step);
      case "poll":
        return poll(step);
      case "step":
        return Map.of("work_left", stepEngine(step) ? 1 : 0);
      case "step_until_idle":
        for (int i = 0; stepEngine(step); ++i) {
          if (i == 100_000) {
            throw new AssertionError("the engine does not become idle");
          }
        }
        idle = true;
        return null;
      case "cancel":
        if (latest.containsKey(session(step))) {
          latest.get(session(step)).cancel(Cancel.valueOf((String) step.get("effect")));
        }
        return null;
      case "rewind":
        session(step).rewind((Long) step.get("count"));
        return null;
      case "park":
        session(step).park();
        return null;
      case "tokens":
        return Map.of("tokens", ints(session(step).tokens()));
      case "token_count":
        if (idle && isUnreported(latest.get(session(step)))) {
          throw new Skipped("the binding polls for itself, so that no request pauses");
        }
        return Map.of("count", session(step).tokenCount());
      case "logits":
        return logits(session(step).logits());
      case "save":
        states.put((String) step.get("as"), session(step).save(options(step, new StateOptions())));
        return Map.of("size", states.get(step.get("as")).length);
      case "read_state":
        states.put((String) step.get("as"), Files.readAllBytes(path(step)));
        return null;
      case "damage_state":
        {
          byte[] damaged = states.get(step.get("state")).clone();
          damaged[((Long) step.get("at")).intValue()] ^= 1;
          states.put((String) step.get("as"), damaged);
          return null;
        }
      case "same_state":
        return Map.of("same", Arrays.equals(states.get(step.get("one")), states.get(step.get("two"))));
      case "probe":
        return probe(StateInfo.probe(states.get(step.get("state"))));
      case "restore":
        {
          Engine engine = thing(step, "engine", Engine.class);
          byte[] state = states.get(step.get("state"));
          return make(step, engine.restore(state, options(step, new SessionOptions())), runtimes.get(engine));
        }
      case "watched":
        if (step.get("key").equals("queue.on_ready")) {
          throw new Skipped("the queue is the binding's own");
        }
        return Map.of("called", called.contains(step.get("key")));
      case "wake":
      case "poll_together":
        throw new Skipped("the queue is the binding's own");
      default:
        throw new IllegalArgumentException("a step that this runner does not know: " + step.get("do"));
    }
  }

  // Things.

  private Map<String, Object> make(Map<String, Object> step, Object thing, Runtime runtime) {
    things.put((String) step.get("as"), thing);
    runtimes.put(thing, runtime);
    return null;
  }

  private <T> T thing(Map<String, Object> step, String key, Class<T> type) {
    return type.cast(things.get(step.get(key)));
  }

  private Model model(Map<String, Object> step) {
    return thing(step, "model", Model.class);
  }

  private Session session(Map<String, Object> step) {
    return thing(step, "session", Session.class);
  }

  private static void end(Object thing) {
    if (thing instanceof Runtime runtime) {
      runtime.close();
    } else {
      ((Engine) thing).close();
    }
  }

  private void release(String name) {
    Object thing = things.remove(name);
    if (thing instanceof Runtime runtime) {
      runtime.release();
    } else if (thing instanceof Model model) {
      model.close();
    } else if (thing instanceof Engine engine) {
      engine.release();
    } else if (thing instanceof Session session) {
      session.close();
    }
  }

  private Map<String, Object> engine(Map<String, Object> step) {
    Model model = model(step);
    make(step, Engine.create(model, options(step, new EngineOptions())), runtimes.get(model));
    List<?> settings = (List<?>) step.getOrDefault("options", List.of());
    if (settings.contains(List.of("bool", "engine.stepped", true))) {
      stepped.add((String) step.get("as"));
    }
    return null;
  }

  // Settings of a queue have no counterpart: "queue.on_ready" is what the binding's poller is there for.
  private Map<String, Object> queue(Map<String, Object> step) {
    return make(step, new Queue(thing(step, "runtime", Runtime.class)), null);
  }

  private Path path(Map<String, Object> step) {
    Path inside = folder.resolve((String) step.get("file"));
    Path beside = list.resolveSibling((String) step.get("file"));
    return Files.exists(inside) || !Files.exists(beside) ? inside : beside;
  }

  private Model load(Map<String, Object> step) throws IOException {
    Runtime runtime = thing(step, "runtime", Runtime.class);
    ModelOptions options = options(step, new ModelOptions());
    switch ((String) step.getOrDefault("from", "file")) {
      case "memory":
        return Model.load(runtime, Files.readAllBytes(path(step)), options);
      case "file":
        return Model.load(runtime, path(step), options);
      default: // Java has no descriptors: an open channel is what comes nearest, and a reader.
        try (FileChannel channel = FileChannel.open(path(step))) {
          return Model.load(runtime, ModelReader.of(channel), options);
        }
    }
  }

  private <S extends Settings<S>> S options(Map<String, Object> step, S options) {
    for (Object each : (List<?>) step.getOrDefault("options", List.of())) {
      List<?> setting = (List<?>) each;
      String key = (String) setting.get(1);
      Object value = setting.get(2);
      switch ((String) setting.get(0)) {
        case "int" -> options.set(key, ((Number) value).longValue());
        case "float" -> options.set(key, ((Number) value).doubleValue());
        case "bool" -> options.set(key, (boolean) value);
        case "string" -> options.set(key, (String) value);
        case "ints" -> options.set(key, ((List<?>) value).stream().mapToLong(v -> (Long) v).toArray());
        case "floats" ->
            options.set(key, ((List<?>) value).stream().mapToDouble(v -> ((Number) v).doubleValue()).toArray());
        case "strings" -> options.set(key, ((List<?>) value).stream().map(String.class::cast).toList());
        default -> callbacks(options, key, value.equals("stop"));
      }
    }
    return options;
  }

  private void callbacks(Settings<?> options, String key, boolean stop) {
    if (key.equals("runtime.log")) {
      options.setLog(key, (level, line) -> called.add(key));
    } else {
      options.setProgress(
          key,
          (done, total) -> {
            called.add(key);
            return !stop;
          });
    }
  }

  private static TextFlag[] flags(Map<String, Object> step) {
    List<?> flags = (List<?>) step.getOrDefault("flags", List.of());
    return flags.stream().map(flag -> TextFlag.valueOf((String) flag)).toArray(TextFlag[]::new);
  }

  private static int[] array(Map<String, Object> step) {
    return ((List<?>) step.get("tokens")).stream().mapToInt(token -> ((Long) token).intValue()).toArray();
  }

  private static List<Object> ints(int[] values) {
    return new ArrayList<>(Arrays.stream(values).boxed().toList());
  }

  // Requests.

  private Map<String, Object> generate(Map<String, Object> step) throws Skipped {
    Session session = session(step);
    Queue queue = thing(step, "queue", Queue.class);
    if (runtimes.get(session) != queue.runtime && things.containsValue(queue.runtime)) {
      throw new Skipped("the queue is the binding's own");
    }
    Request request = session.generate(options(step, new GenerateOptions()));
    latest.put(session, request);
    queue.requests.put((Long) step.get("tag"), new Reported(request));
    return null;
  }

  // Whether the scenario has not been told the request's end yet: in C it may have paused.
  private boolean isUnreported(Request request) {
    return things.values().stream()
        .filter(Queue.class::isInstance)
        .flatMap(queue -> ((Queue) queue).requests.values().stream())
        .anyMatch(reported -> reported.request == request && !reported.finish);
  }

  private boolean stepEngine(Map<String, Object> step) {
    boolean left = false;
    for (long i = 0; i < (Long) step.getOrDefault("times", 1L); ++i) {
      left = thing(step, "engine", Engine.class).step(Duration.ofNanos(-1)).workLeft();
    }
    return left;
  }

  private Map<String, Object> await(Map<String, Object> step) throws InterruptedException {
    Queue queue = thing(step, "queue", Queue.class);
    long wanted = (Long) step.get("finished");
    long end = System.currentTimeMillis() + PATIENCE_MS;
    while (queue.requests.values().stream().filter(r -> !r.finish && r.request.isDone()).count() < wanted) {
      if (System.currentTimeMillis() > end) {
        throw new AssertionError("no event came");
      }
      if (!stepped.contains(step.get("engine")) || !stepEngine(step)) {
        Thread.sleep(1);
      }
    }
    List<Object> answers = answers(queue, true);
    for (Object answer : answers) {
      map(answer).keySet().removeAll((List<?>) step.getOrDefault("without", List.of()));
    }
    return Map.of("answers", answers);
  }

  // The binding's own thread polls: what is expected may come a moment later.
  private Map<String, Object> poll(Map<String, Object> step) throws Skipped, InterruptedException {
    Map<String, Object> expected = map(step.get("expect"));
    if (expected != null && expected.containsKey("status")) {
      throw new Skipped("the queue is the binding's own");
    }
    Queue queue = thing(step, "queue", Queue.class);
    long end = System.currentTimeMillis() + 5000;
    while (expected != null
        && System.currentTimeMillis() < end
        && !Conformance.same(expected, Map.of("answers", answers(queue, false)), tolerance)) {
      Thread.sleep(1);
    }
    return Map.of("answers", answers(queue, true));
  }

  private static List<Object> answers(Queue queue, boolean take) throws InterruptedException {
    List<Object> answers = new ArrayList<>();
    for (Map.Entry<Long, Reported> entry : queue.requests.entrySet()) {
      Map<String, Object> answer = answer(entry.getValue(), take);
      if (!answer.isEmpty()) {
        answer.put("tag", entry.getKey());
        answers.add(answer);
      }
    }
    return answers;
  }

  // What is new of a request.
  private static Map<String, Object> answer(Reported reported, boolean take) throws InterruptedException {
    Request request = reported.request;
    boolean ended = request.isDone();
    List<Token> tokens = new ArrayList<>();
    for (Token token = request.peek(reported.tokens); token != null; ) {
      tokens.add(token);
      token = request.peek(reported.tokens + tokens.size());
    }
    Map<String, Object> answer = new HashMap<>();
    if (tokens.isEmpty() && (!ended || reported.finish)) {
      return answer;
    }
    List<Token> real = tokens.stream().filter(token -> token.id() != Token.NONE).toList();
    answer.put("tokens", real.stream().map(Token::id).toList());
    answer.put("text", String.join("", tokens.stream().map(Token::text).toList()));
    if (real.stream().anyMatch(token -> !Float.isNaN(token.logprob()))) {
      answer.put("logprobs", real.stream().map(Token::logprob).toList());
    }
    if (real.stream().anyMatch(token -> !token.top().isEmpty())) {
      answer.put(
          "top",
          real.stream()
              .map(token -> token.top().stream().map(t -> List.<Object>of(t.id(), t.logprob())).toList())
              .toList());
    }
    if (ended) {
      Answer whole = request.await();
      answer.put("reason", "TSR_FINISH_" + whole.finish());
      answer.put("status", status(whole.finish()));
      answer.put("prompt_tokens", whole.promptTokens());
      answer.put("generated_tokens", whole.generatedTokens());
      answer.put("last_token", whole.lastToken());
    }
    if (take) {
      reported.tokens += tokens.size();
      reported.finish = ended;
    }
    return answer;
  }

  // Finish says as much: a failure would have been thrown.
  private static String status(Finish finish) {
    return switch (finish) {
      case CANCELLED -> "TSR_STATUS_CANCELLED";
      case DEADLINE -> "TSR_STATUS_DEADLINE_EXCEEDED";
      case CLOSED -> "TSR_STATUS_CLOSED";
      default -> "TSR_STATUS_OK";
    };
  }

  // Results.

  private static Map<String, Object> info(ModelInfo info) {
    Map<String, Object> given = new HashMap<>();
    given.put("parameters", info.parameters());
    given.put("vocabulary_size", info.vocabularySize());
    given.put("context_tokens", info.contextTokens());
    given.put("layers", info.layers());
    given.put("hidden_size", info.hiddenSize());
    given.put("bos_token", info.bosToken());
    given.put("end_token", info.endToken());
    given.put("hash", info.hash());
    given.put("tokenizer_hash", info.tokenizerHash());
    given.put("device", info.device());
    return given;
  }

  private Map<String, Object> metadata(Map<String, Object> step) {
    String key = (String) step.get("key");
    List<?> values = model(step).metadata(key).orElse(null);
    if (values == null) { // Java says it by an empty Optional.
      return Map.of("status", "TSR_STATUS_NOT_FOUND", "place", "key '" + key + "'");
    }
    return Map.of("count", values.size(), "first", values.subList(0, Math.min(8, values.size())));
  }

  private static Map<String, Object> logits(float[] logits) {
    int largest = 0;
    List<Object> first = new ArrayList<>();
    for (int i = 0; i < logits.length; ++i) {
      largest = logits[i] > logits[largest] ? i : largest;
      if (i < 8) {
        first.add(logits[i]);
      }
    }
    return Map.of("count", logits.length, "largest", largest, "first", first);
  }

  private static Map<String, Object> probe(StateInfo info) {
    int type = Arrays.asList("f32", "f16", "bf16", "int8").indexOf(info.cacheType());
    return Map.of(
        "size_bytes", info.sizeBytes(),
        "token_count", info.tokenCount(),
        "cached_tokens", info.cachedTokens(),
        "version", info.version(),
        "cache_type", type,
        "complete", info.complete() ? 1 : 0);
  }
}
