/** Whether `text` matches `pattern`, in which `*` stands for any text. Linear in practice: no regular expression. */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let retryAt = 0
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      retryAt = t
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++retryAt
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
