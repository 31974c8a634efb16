import assert from 'node:assert/strict'
import type { TunnelError } from '../../client/index.ts'
import { clientOf } from '../client/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { Ground, startTarget } from './ground.ts'

export interface CutOptions {
  requests: number
  /** The link is cut each time that so many more were answered. */
  cutEvery: number
  /** The same for the proxy, which is killed. Absent: never. */
  killEvery?: number
  concurrency: number
}

export interface CutReport {
  answered: number
  unknown: number
  cuts: number
  kills: number
}

/** Requests through a link that is cut again and again, and a proxy that is killed: each has one outcome, and is carried out once. */
export async function cuts(scope: Scope, options: CutOptions): Promise<CutReport> {
  const { requests, cutEvery, killEvery = Number.POSITIVE_INFINITY, concurrency } = options
  const [target, ground] = await Promise.all([startTarget(scope), Ground.start(scope, 256)])
  const tunnel = clientOf(scope, ground.url, {
    settings: { queue: { maxRequests: requests }, backoff: { baseMs: 20, maxMs: 100, maxAttempts: 100 } },
  })
  await tunnel.connect()
  const report: CutReport = { answered: 0, unknown: 0, cuts: 0, kills: 0 }
  const wrong: string[] = []
  let restarting: Promise<void> | undefined
  let inFlight = 0
  let mostUnknown = 0
  const disturb = () => {
    if (restarting !== undefined) return
    if (report.answered % killEvery === 0) {
      report.kills++
      mostUnknown += inFlight
      restarting = ground.restartProxy().finally(() => {
        restarting = undefined
      })
    } else if (report.answered % cutEvery === 0) {
      report.cuts++
      ground.cut()
    }
  }
  let next = 0
  const worker = async () => {
    while (next < requests) {
      const index = next++
      const isIdempotent = index % 2 === 0
      inFlight++
      try {
        const answer = await tunnel.forwardRequest({
          machine: 'home',
          port: target.port,
          method: 'POST',
          headers: { 'x-name': String(index) },
          body: 'x',
          idempotent: isIdempotent,
          priority: (['high', 'normal', 'low'] as const)[index % 3]!,
          timeoutMs: 300_000,
        })
        if (answer.text() !== String(index)) wrong.push(`${index}: ${answer.text()}`)
        report.answered++
        disturb()
      } catch (error) {
        const { code, message } = error as TunnelError
        if (code === 'OUTCOME_UNKNOWN' && !isIdempotent) report.unknown++
        else wrong.push(`${index}: ${code} ${message}`)
      } finally {
        inFlight--
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  await restarting
  assert.deepEqual(wrong.slice(0, 10), [])
  const twice = [...target.executed].filter(([, times]) => times > 1)
  assert.deepEqual(twice, [], 'carried out twice')
  assert.equal(report.answered + report.unknown, requests)
  assert.ok(target.executed.size >= report.answered)
  if (report.kills === 0) assert.equal(report.unknown, 0)
  assert.ok(report.unknown <= mostUnknown, `${report.unknown} unknown of ${mostUnknown} in flight`)
  return report
}
