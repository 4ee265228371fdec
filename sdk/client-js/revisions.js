// What a revision does to a message that is here: edits, deletions and reactions, each taken over once.
// Asking for those that were missed is client.js's part.

/**
 * The message as it is after a revision, or `null` where that changes nothing.
 * @param {object} message As history or a push shows it.
 * @param {object} revision As the protocol pushes it.
 * @param {string} me Who asks: whose reactions are `my_reactions`.
 */
export function revised(message, revision, me) {
  if (message.deleted || (message.rev ?? 0) >= revision.rev) return null;
  const { rev, at, by, edit, react } = revision;
  if (revision.delete) return deleted(message, rev);
  // An edit that a later one replaced comes without its text: the later one follows.
  if (edit) return edit.body === undefined ? null : { ...message, rev, body: edit.body, edited_at: at };
  if (react) return { ...message, rev, ...reactions(message, react, by === me) };
  return null;
}

/** The number of the message that a revision is about, or `undefined`. */
export function subject({ edit, delete: gone, react }) {
  return (edit ?? gone ?? react)?.seq;
}

function deleted({ conversation, seq, sender, client_id, sent_at, kind, via }, rev) {
  return { conversation, seq, rev, sender, client_id, sent_at, kind, via, body: "", deleted: true };
}

// Where many are in, a revision says how many react, not who.
function reactions(message, react, mine) {
  const { emoji, on, count, counts = { [emoji]: count } } = react;
  const all = Object.entries({ ...message.reactions, ...counts });
  const reactions = Object.fromEntries(all.filter(([, count]) => count > 0));
  if (!mine || react.counts) return { reactions };
  const kept = (message.my_reactions ?? []).filter((other) => other !== emoji);
  return { reactions, my_reactions: on ? [...kept, emoji] : kept };
}
