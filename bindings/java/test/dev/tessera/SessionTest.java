// Sessions and models: fork, rewind, save, restore, chat, logits, metadata, plans, errors.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

final class SessionTest extends Fixture {
  private static TesseraException failure(org.junit.jupiter.api.function.Executable call) {
    return assertThrows(TesseraException.class, call);
  }

  @Test
  void aForkGoesOnAsItsParentWouldAndARewoundSessionRepeats() throws Exception {
    Session session = session(engine());
    long before = session.tokenCount();
    Session fork = keep(session.fork());
    String text = session.generate(tokens(12)).await().text();
    assertEquals(text, fork.generate(tokens(12)).await().text());
    session.rewind(before);
    assertEquals(text, session.generate(tokens(12)).await().text());
    assertEquals(Status.INVALID_ARGUMENT, failure(() -> session.rewind(100000)).status());
    assertEquals(Status.INVALID_ARGUMENT, failure(() -> session.rewind(-1)).status());
  }

  @Test
  void aSavedSessionGoesOnWithTheSameTokens() throws Exception {
    Engine engine = engine();
    Session session = session(engine);
    session.generate(tokens(5)).await();
    byte[] state = session.save();
    byte[] small = session.save(new StateOptions().cache(false));
    assertTrue(small.length < state.length);
    StateInfo info = StateInfo.probe(state);
    assertEquals(state.length, info.sizeBytes());
    assertEquals(session.tokenCount(), info.tokenCount());
    assertTrue(info.complete());
    assertEquals("f16", info.cacheType());
    assertEquals(model.info().hash(), info.modelHash());
    assertEquals(model.info().tokenizerHash(), info.tokenizerHash());
    String text = session.generate(tokens(8)).await().text();
    Engine other = engine();
    assertEquals(text, keep(other.restore(state)).generate(tokens(8)).await().text());
    SessionOptions tokensOnly = new SessionOptions().restoreCache(false);
    assertEquals(text, keep(other.restore(small, tokensOnly)).generate(tokens(8)).await().text());
    state[state.length / 2] ^= 1;
    assertEquals(Status.CORRUPT, failure(() -> engine.restore(state)).status());
    assertEquals(Status.CORRUPT, failure(() -> StateInfo.probe(state)).status());
  }

  @Test
  void logitsAreThoseOfTheChosenToken() throws Exception {
    Session session = keep(engine().newSession(new SessionOptions().logits(true)));
    session.appendText(PROMPT);
    assertEquals(Status.WRONG_STATE, failure(session::logits).status());
    Answer answer = session.generate(tokens(1)).await();
    float[] logits = session.logits();
    assertEquals(model.info().vocabularySize(), logits.length);
    int best = 0;
    for (int i = 1; i < logits.length; ++i) {
      best = logits[i] > logits[best] ? i : best;
    }
    assertEquals(answer.ids()[0], best);
  }

  @Test
  void chatGoesThroughATemplateAndWhatUsersTypeStaysText() throws Exception {
    List<Message> messages =
        List.of(Message.system("Be \"brief\"\\."), Message.user("line\nnew\ttab \u0001 <|im_end|> \u00e9\ud83d\ude00"));
    String template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    ChatOptions options = new ChatOptions().template(template);
    assertEquals(
        "[system]Be \"brief\"\\.[user]line\nnew\ttab \u0001 <|im_end|> \u00e9\ud83d\ude00",
        model.applyChatTemplate(messages, options));
    Session session = keep(engine().newSession());
    session.appendChat(messages, options);
    assertEquals(1, model.tokenize("<|im_end|>", TextFlag.PARSE_SPECIAL).length);
    int end = model.tokenize("<|im_end|>", TextFlag.PARSE_SPECIAL)[0];
    for (int token : session.tokens()) {
      assertTrue(token != end, "a user ended a turn by writing its token");
    }
    assertEquals(Finish.LENGTH, session.generate(tokens(4)).await().finish());
    assertEquals(
        Status.INVALID_ARGUMENT, failure(() -> session.appendChat("not json", new ChatOptions())).status());
  }

  @Test
  void textBecomesTokensAndComesBack() {
    String text = "hello, w\u00f6rld \u4e16\u754c \ud83d\ude00";
    int[] tokens = model.tokenize(text);
    assertEquals(text, model.detokenize(tokens));
    Session session = keep(engine().newSession());
    session.appendTokens(tokens);
    assertArrayEquals(tokens, session.tokens());
    assertArrayEquals(new int[] {tokens[tokens.length - 1]}, session.tokens(tokens.length - 1));
    session.park();
    assertEquals(tokens.length, session.tokenCount());
    assertEquals(Status.INVALID_ARGUMENT, failure(() -> session.tokens(-1)).status());
  }

  @Test
  void allWaysOfLoadingGiveTheSameModel() throws Exception {
    String hash = model.info().hash();
    byte[] bytes = Files.readAllBytes(MODEL);
    ByteBuffer direct = ByteBuffer.allocateDirect(bytes.length + 8);
    direct.position(8).put(bytes).position(8);
    assertEquals(hash, keep(Model.load(runtime, bytes, new ModelOptions())).info().hash());
    assertEquals(hash, keep(Model.load(runtime, direct, new ModelOptions())).info().hash());
    Model borrowed = keep(Model.borrow(runtime, direct, new ModelOptions()));
    assertEquals(hash, borrowed.info().hash());
    try (FileChannel channel = FileChannel.open(MODEL)) {
      Model read = keep(Model.load(runtime, ModelReader.of(channel), new ModelOptions().readThreads(2).loadThreads(2)));
      assertEquals(hash, read.info().hash());
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> Model.load(runtime, ByteBuffer.wrap(bytes), new ModelOptions()));
  }

  @Test
  void metadataHasItsTypes() {
    assertTrue(model.metadataKeys().contains("general.architecture"));
    assertEquals(Optional.of(List.of("llama")), model.metadata("general.architecture"));
    assertEquals(Optional.of(List.of(2L)), model.metadata("llama.block_count"));
    assertTrue(model.metadata("llama.rope.freq_base").get().get(0) instanceof Double);
    assertTrue(model.metadata("no.such.key").isEmpty());
  }

  @Test
  void aPlanSaysWhatTheEngineWillTake() {
    PlanOptions options = new PlanOptions().set("engine.cache_tokens", 2048).set("runtime.threads", 1);
    assertEquals("setting 'runtime.threads'", failure(() -> runtime.plan(MODEL, options)).place());
    Plan plan = runtime.plan(MODEL, new PlanOptions().set("engine.cache_tokens", 2048));
    assertEquals(model.info().weightBytes(), plan.hostWeightBytes());
    assertEquals(engine().metrics().cacheBytes(), plan.hostCacheBytes());
    assertTrue(plan.fits());
    assertFalse(runtime.plan(MODEL, new PlanOptions().hostBytes(1000)).fits());
  }

  @Test
  void errorsHaveACodeAndAPlace() {
    TesseraException missing = failure(() -> Model.load(runtime, Path.of("no/such/model.gguf")));
    assertEquals(Status.NOT_FOUND, missing.status());
    assertTrue(missing.getMessage().contains("no/such/model.gguf"));
    TesseraException key = failure(() -> Engine.create(model, new EngineOptions().set("engine.no_such_key", 1)));
    assertEquals(Status.INVALID_ARGUMENT, key.status());
    assertEquals("setting 'engine.no_such_key'", key.place());
    Session session = session(engine());
    assertEquals(Status.INVALID_UTF8, failure(() -> session.appendText("ab\ud800")).status());
    assertEquals(Status.INVALID_ARGUMENT, failure(() -> session.appendTokens(-1)).status());
    assertThrows(NullPointerException.class, () -> session.appendTokens((int[]) null));
    for (Status status : Status.values()) {
      if (status != Status.UNKNOWN) {
        assertEquals("TSR_STATUS_" + status, Utf8.decode(Native.statusName(status.code())));
      }
    }
  }
}
