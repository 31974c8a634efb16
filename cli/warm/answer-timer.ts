/**
 * Calls back when `ms` have gone by without an answer. The second half begins only when the first one was noticed to be
 * over, so that a process that was itself held up still hears what has come meanwhile.
 * @returns what stops it
 */
export function withoutAnswer(ms: number, over: () => void): () => void {
  let timer = setTimeout(() => {
    timer = setTimeout(over, ms / 2)
  }, ms / 2)
  return () => clearTimeout(timer)
}
