import type { ResumeHead, RoutedHead } from './heads.ts'

/** A header beside its two texts: a list of two, and their objects. */
const HEADER_PAIR_BYTES = 128

/** What a head that is kept holds in memory, from how long it was as JSON; texts may be two bytes a character. */
export function headCost(head: RoutedHead | ResumeHead, headBytes: number): number {
  const pairs = 'http' in head ? (head.http?.headers.length ?? 0) : 0
  return 2 * (headBytes + (head.further?.length ?? 0)) + HEADER_PAIR_BYTES * pairs
}
