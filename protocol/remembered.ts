/** What is kept of one function at the most. All goes when it is full: what is asked for often is back at once. */
const MAX_KEPT = 1_000
/** A longer text is asked about each time, so that nobody fills the memory with them. */
const MAX_CHARS = 300

/**
 * A function of a short text that answers the same for the same one, and asks `find` for it only now and then. Its
 * answers are shared: whoever gets one must not change it.
 */
export function remembered<T>(find: (text: string) => T): (text: string) => T {
  const kept = new Map<string, { answer: T }>()
  return (text) => {
    const known = kept.get(text)
    if (known !== undefined) return known.answer
    const answer = find(text)
    if (text.length > MAX_CHARS) return answer
    if (kept.size >= MAX_KEPT) kept.clear()
    kept.set(text, { answer })
    return answer
  }
}
