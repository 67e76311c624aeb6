// A piece of an answer as it arrives.
package dev.tessera;

import java.util.List;

/**
 * A generated token and the text that can be shown with it.
 *
 * @param id the token's id; {@link #NONE} for a last piece of text that was held back and comes without a token
 * @param text whole code points; may be empty while a code point or a possible stop string is incomplete, and several
 *     tokens that arrive together bring their text with the last one
 * @param logprob natural logarithm of its probability; NaN when not asked for
 * @param top the most probable tokens in its place, the most probable first; empty when not asked for
 */
public record Token(int id, String text, float logprob, List<Alternative> top) {
  /** The id of a piece of text without a token. */
  public static final int NONE = -1;

  /**
   * A token that might have been chosen.
   *
   * @param id the token's id
   * @param logprob natural logarithm of its probability
   */
  public record Alternative(int id, float logprob) {}
}
