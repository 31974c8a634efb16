import assert from 'node:assert/strict'

/** What all lives of a program have said together of its requests, each by its name. */
export class Ledger {
  readonly accepted = new Set<string>()
  readonly answered = new Set<string>()
  /** The code of what each ended with. */
  readonly failed = new Map<string, string>()

  take(line: string): void {
    const [what, name = '', code = ''] = line.split(' ')
    assert.notEqual(what, 'aside', line)
    if (what === 'accepted') this.accepted.add(name)
    if (what === 'answered') this.answered.add(name)
    if (what === 'failed' && code !== 'STILL_QUEUED') this.failed.set(name, code)
  }

  failedWith(code: string): string[] {
    return [...this.failed.keys()].filter((name) => this.failed.get(name) === code)
  }

  /**
   * @param executed how often each was carried out, in the order of arrival
   * @param mostUntold whose outcome may have been on its way to us when the program was killed
   */
  check(executed: ReadonlyMap<string, number>, mostUntold: number): void {
    const twice = [...executed].filter(([, times]) => times > 1)
    assert.deepEqual(twice, [], 'carried out twice')
    const [unknown, refused] = [this.failedWith('OUTCOME_UNKNOWN'), this.failedWith('STORE_FAILED')]
    const codes = [...this.failed.values()].join()
    assert.equal(unknown.length + refused.length, this.failed.size, codes)
    const isIdempotent = (name: string) => Number(name.split('-')[1]) % 2 === 0
    assert.deepEqual(unknown.filter(isIdempotent), [], 'unknown, though it may be sent again')
    const isLost = (name: string) => !executed.has(name) && !unknown.includes(name)
    assert.deepEqual([...this.accepted].filter(isLost), [], 'accepted and lost')
    const isRefused = (name: string) => executed.has(name) || this.accepted.has(name)
    assert.deepEqual(refused.filter(isRefused), [], 'refused, and accepted or carried out all the same')
    // It is on no disk any more.
    const untold = [...this.accepted].filter((name) => !this.answered.has(name) && !this.failed.has(name))
    assert.ok(untold.length <= mostUntold, `${untold.length} without an outcome`)
  }
}
