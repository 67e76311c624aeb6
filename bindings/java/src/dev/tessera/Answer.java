// A whole answer.
package dev.tessera;

import java.time.Duration;
import java.util.List;
import java.util.stream.Collectors;

/**
 * What a request generated, and why it ended.
 *
 * @param tokens everything that arrived, in order
 * @param finish why it ended
 * @param promptTokens tokens that were computed before the first new one
 * @param generatedTokens tokens that were generated and kept in the session, the end token included
 * @param lastToken the last one generated, -1: none
 * @param queued from submission to the first computation
 * @param prompt from there to the first token
 * @param decode from there to the end
 */
public record Answer(
    List<Token> tokens,
    Finish finish,
    int promptTokens,
    int generatedTokens,
    int lastToken,
    Duration queued,
    Duration prompt,
    Duration decode) {
  /** The text. */
  public String text() {
    return tokens.stream().map(Token::text).collect(Collectors.joining());
  }

  /** The ids of the tokens, those without text included. */
  public int[] ids() {
    return tokens.stream().mapToInt(Token::id).filter(id -> id != Token.NONE).toArray();
  }

  @Override
  public String toString() {
    return text();
  }
}
