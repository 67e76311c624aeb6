// Generation: all ways to read an answer give the same, and settings have their effect.
package dev.tessera;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

final class GenerationTest extends Fixture {
  @Test
  void iteratorStreamFutureAndAwaitGiveTheSameTokens() throws Exception {
    Session session = session(engine());
    Request request = session.generate(tokens(20));
    List<Token> iterated = new ArrayList<>();
    request.forEach(iterated::add);
    Answer answer = request.await();
    assertEquals(iterated, answer.tokens());
    assertEquals(iterated, request.stream().toList());
    assertEquals(answer, request.answer().get(10, TimeUnit.SECONDS));
    assertEquals(20, answer.ids().length);
    assertEquals(Finish.LENGTH, answer.finish());
    assertEquals(20, answer.generatedTokens());
    assertEquals(answer.text(), iterated.stream().map(Token::text).collect(Collectors.joining()));
    int[] all = session.tokens();
    assertArrayEquals(answer.ids(), Arrays.copyOfRange(all, all.length - 20, all.length));
    assertEquals(answer.lastToken(), all[all.length - 1]);
  }

  @Test
  void aSeedDrawsTheSameTokensAgainAndAnotherDrawsOthers() throws Exception {
    Engine engine = engine();
    String[] texts = new String[3];
    long[] seeds = {7, 7, 8};
    for (int i = 0; i < 3; ++i) {
      texts[i] = session(engine).generate(tokens(24).temperature(1.0).seed(seeds[i])).await().text();
    }
    assertEquals(texts[0], texts[1]);
    assertNotEquals(texts[0], texts[2]);
  }

  @Test
  void logProbabilitiesComeWithTheirAlternatives() throws Exception {
    Answer answer = session(engine()).generate(tokens(6).topLogprobs(3)).await();
    assertEquals(6, answer.ids().length);
    for (Token token : answer.tokens()) {
      if (token.id() == Token.NONE) { // Text that was held back until the end.
        continue;
      }
      assertEquals(3, token.top().size());
      assertTrue(token.logprob() <= 0);
      assertEquals(token.id(), token.top().get(0).id(), "greedy takes the most probable token");
      assertEquals(token.logprob(), token.top().get(0).logprob(), 1e-5);
      assertTrue(token.top().get(1).logprob() >= token.top().get(2).logprob());
    }
    Answer plain = session(engine()).generate(tokens(2)).await();
    assertTrue(Float.isNaN(plain.tokens().get(0).logprob()));
  }

  @Test
  void aStopStringEndsTheTextBeforeIt() throws Exception {
    Engine engine = engine();
    String whole = session(engine).generate(tokens(24)).await().text();
    String stop = whole.substring(2, 3);
    Answer answer = session(engine).generate(tokens(24).stop("no such text", stop)).await();
    assertEquals(Finish.STOP, answer.finish());
    assertEquals(whole.substring(0, whole.indexOf(stop)), answer.text());
  }

  @Test
  void aBiasForcesATokenAndTheEndTokenEndsTheTurn() throws Exception {
    Engine engine = engine();
    Answer forced = session(engine).generate(tokens(3).logitBias(Map.of(100, 1000.0))).await();
    assertArrayEquals(new int[] {100, 100, 100}, forced.ids());
    int end = model.info().endToken();
    GenerateOptions options = new GenerateOptions().logitBias(Map.of(end, 1000.0));
    assertEquals(Finish.END, session(engine).generate(options).await().finish());
  }

  @Test
  void aDeadlineThatPassesEndsTheRequest() throws Exception {
    Engine engine = steppedEngine();
    Request request = session(engine).generate(tokens(50).deadline(Duration.ofNanos(1)));
    finish(engine, request);
    assertEquals(Finish.DEADLINE, request.await().finish());
  }

  @Test
  void anAnswerThatDoesNotComeInTimeIsATimeoutAndTheRequestGoesOn() throws Exception {
    Engine engine = steppedEngine();
    Request request = session(engine).generate(tokens(4));
    assertThrows(TimeoutException.class, () -> request.await(Duration.ofMillis(5)));
    assertFalse(request.isDone());
    finish(engine, request);
    assertEquals(Finish.LENGTH, request.await(Duration.ofSeconds(10)).finish());
  }

  @Test
  void sixtyFourSessionsTogetherGiveWhatOneGivesAlone() throws Exception {
    Engine engine = keep(Engine.create(model, new EngineOptions().cacheTokens(64 * 64).contextTokens(64)));
    String alone = session(engine).generate(tokens(16)).await().text();
    List<Request> requests = new ArrayList<>();
    for (int i = 0; i < 64; ++i) {
      requests.add(session(engine).generate(tokens(16)));
    }
    for (Request request : requests) {
      assertEquals(alone, request.await().text());
    }
    EngineMetrics metrics = engine.metrics();
    assertEquals(65, metrics.requestsFinished());
    assertEquals(65 * 16, metrics.generatedTokens());
    assertEquals(65, metrics.sessions());
    assertEquals(16, metrics.regionNs().size());
  }
}
