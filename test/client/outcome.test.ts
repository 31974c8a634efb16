import assert from 'node:assert/strict'
import { test } from 'node:test'
import { afterGivingUp, type FailedTry, MAX_TRIES, retryDecision } from '../../client/outcome.ts'
import { ERROR_KINDS, type ErrorCode, type Hop, TunnelError } from '../../protocol/codec/errors.ts'
import { isIdempotent } from '../../protocol/codec/http-rules.ts'

const lost = new TunnelError('RESUME_EXPIRED', 'gone', { hop: 'client' })
const failed: FailedTry = {
  ...{ error: lost, tries: 1, progress: 'sent' },
  ...{ idempotent: false, replayable: true, final: false },
}

const errorOf = (code: ErrorCode, hop: Hop = 'proxy') => new TunnelError(code, 'it failed', { hop })
const said = (decision: 'retry' | TunnelError) => (decision === 'retry' ? decision : decision.code)

/**
 * What becomes of a request that was sent when it ends with one of these: of one that is not idempotent, of the same when
 * it is on disk, and of one that is idempotent. `own`: that code. A new code needs a line here.
 */
interface Row {
  why: string
  codes: readonly ErrorCode[]
  once: 'own' | 'retry' | 'OUTCOME_UNKNOWN'
  kept: Row['once']
  idempotent: Row['once']
}
const TABLE: readonly Row[] = [
  {
    why: 'the path is gone, and with it the answer',
    codes: [
      ...(['UNKNOWN_STREAM', 'RESUME_EXPIRED', 'LINK_LOST', 'AGENT_LOST'] as const),
      ...(['TAKEN_OVER', 'SHUTTING_DOWN', 'OUTCOME_UNKNOWN'] as const),
    ],
    ...{ once: 'OUTCOME_UNKNOWN', kept: 'OUTCOME_UNKNOWN', idempotent: 'retry' },
  },
  {
    why: 'the far side has ended it, whatever it had done',
    codes: ['TOKEN_REVOKED', 'INTERNAL', 'ABORTED'],
    ...{ once: 'OUTCOME_UNKNOWN', kept: 'OUTCOME_UNKNOWN', idempotent: 'own' },
  },
  {
    why: 'its place on the link was still held',
    codes: ['TOO_MANY_STREAMS'],
    ...{ once: 'retry', kept: 'retry', idempotent: 'retry' },
  },
  {
    why: 'it was refused, for a reason that passes',
    codes: [
      ...(['MACHINE_OFFLINE', 'RATE_LIMITED', 'TOO_MANY_CONNECTIONS'] as const),
      ...(['POOL_EXHAUSTED', 'CIRCUIT_OPEN', 'STORE_FAILED', 'OVERLOADED'] as const),
    ],
    ...{ once: 'own', kept: 'retry', idempotent: 'own' },
  },
  {
    why: 'it was refused',
    codes: [
      ...(['TOKEN_MISSING', 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'TICKET_INVALID', 'FORBIDDEN'] as const),
      ...(['POLICY_DENIED', 'TIER_REQUIRED', 'MACHINE_UNKNOWN', 'CONNECT_REFUSED', 'DNS_FAILED'] as const),
      ...(['CERTIFICATE_EXPIRED', 'CERTIFICATE_NOT_YET_VALID', 'CERTIFICATE_UNTRUSTED'] as const),
      ...(['CERTIFICATE_WRONG_HOST', 'CERTIFICATE_NOT_PINNED', 'TLS_FAILED'] as const),
      ...(['HTTP_PROXY_AUTH_REQUIRED', 'HTTP_PROXY_FAILED', 'SESSION_UNKNOWN'] as const),
      ...(['STATE_UNAVAILABLE', 'SSH_HANDSHAKE_FAILED', 'SSH_AUTH_FAILED', 'HOST_KEY_CHANGED'] as const),
      ...(['CHANNEL_OPEN_FAILED', 'FRAME_INVALID', 'FRAME_TOO_LARGE', 'VERSION_UNSUPPORTED'] as const),
      ...(['QUEUE_FULL', 'STILL_QUEUED', 'QUEUE_LOCKED', 'CONFIG_INVALID', 'FILE_FAILED'] as const),
      ...(['REQUEST_INVALID', 'ROUTE_UNKNOWN', 'TIMEOUT', 'CONFIG_CHANGED', 'ALREADY_HOME'] as const),
      ...(['KIND_UNKNOWN'] as const),
    ],
    ...{ once: 'own', kept: 'own', idempotent: 'own' },
  },
]

for (const { why, codes, once, kept, idempotent } of TABLE) {
  test(`${why}: ${once}, on disk ${kept}, idempotent ${idempotent}`, () => {
    for (const code of codes) {
      const error = errorOf(code)
      const check = (more: object, outcome: string) =>
        assert.equal(
          said(retryDecision({ ...failed, error, ...more })),
          outcome === 'own' ? code : outcome,
          `${code} ${JSON.stringify(more)}`,
        )
      check({}, once)
      check({ kept: true }, kept)
      check({ idempotent: true }, idempotent)
      // Its response had begun, or it could not go on: it was carried out, whatever else is said.
      for (const isKept of [true, false]) check({ progress: 'begun', kept: isKept }, 'OUTCOME_UNKNOWN')
      check({ progress: 'unsent' }, idempotent)
    }
  })
}

test('no code is without a line in this table', () => {
  const named = TABLE.flatMap(({ codes }) => codes)
  assert.deepEqual(named.sort(), Object.keys(ERROR_KINDS).sort())
})

test('what a proxy that leaves has refused is asked for again; what it had begun is not', () => {
  const again = new TunnelError('SHUTTING_DOWN', 'come again', { hop: 'proxy', retryAfterMs: 1_000 })
  assert.equal(retryDecision({ ...failed, error: again }), 'retry')
  assert.equal(said(retryDecision({ ...failed, error: again, progress: 'begun' })), 'OUTCOME_UNKNOWN')
})

test('a service that has not answered in time may have carried the request out; one that was not reached has not', () => {
  assert.equal(said(retryDecision({ ...failed, error: errorOf('TIMEOUT', 'target') })), 'OUTCOME_UNKNOWN')
  assert.equal(said(retryDecision({ ...failed, error: errorOf('TIMEOUT', 'ssh') })), 'TIMEOUT')
})

test('a caller whose time is up hears that a request which was sent may have been executed; one that aborts, its abort', () => {
  const late = { ...failed, error: errorOf('TIMEOUT', 'client') }
  const decision = afterGivingUp(late)
  assert.equal(decision.code, 'OUTCOME_UNKNOWN')
  assert.equal(decision.cause, late.error)
  assert.match(decision.message, /it failed after the request was sent/)
  assert.equal(afterGivingUp({ ...late, idempotent: true }), late.error)
  assert.equal(afterGivingUp({ ...late, progress: 'unsent' }), late.error)
  const called = errorOf('ABORTED', 'client')
  assert.equal(afterGivingUp({ ...late, error: called }), called)
})

test('what the caller itself has ended is told as it is, also when the response had begun', () => {
  const tooLarge = errorOf('ABORTED', 'client')
  assert.equal(retryDecision({ ...failed, error: tooLarge, progress: 'begun' }), tooLarge)
})

test('a request whose outcome is unknown says so, and keeps the cause', () => {
  const decision = retryDecision(failed)
  assert.ok(decision instanceof TunnelError)
  assert.equal(decision.cause, lost)
  const internal = retryDecision({ ...failed, error: errorOf('INTERNAL') })
  assert.match(
    String(internal),
    /: something unexpected went wrong after the request was sent; it may have been executed$/,
  )
  const unknown = errorOf('OUTCOME_UNKNOWN', 'target')
  assert.equal(retryDecision({ ...failed, error: unknown }), unknown)
})

test('one that was refused before anything of it began ends in that refusal, whatever its code', () => {
  for (const code of ['INTERNAL', 'TOKEN_REVOKED', 'ABORTED', 'AGENT_LOST'] as const) {
    const refused = new TunnelError(code, 'no', { hop: 'proxy', refused: true })
    const answered = { ...failed, error: refused, replayable: false }
    assert.equal(retryDecision(answered), refused, code)
    assert.equal(retryDecision({ ...answered, final: true }), refused, code)
    assert.equal(said(retryDecision({ ...answered, progress: 'begun' })), 'OUTCOME_UNKNOWN', code)
  }
})

test('one that is idempotent or was never sent goes again, a bounded number of times and only when its body can be', () => {
  for (const harmless of [{ idempotent: true }, { progress: 'unsent' }] as const) {
    assert.equal(retryDecision({ ...failed, ...harmless }), 'retry')
    assert.equal(retryDecision({ ...failed, ...harmless, tries: MAX_TRIES }), lost)
    assert.equal(retryDecision({ ...failed, ...harmless, tries: MAX_TRIES, kept: true }), 'retry')
    assert.equal(retryDecision({ ...failed, ...harmless, replayable: false }), lost)
  }
})

test('when no link is coming, what was sent has an unknown outcome and nothing is sent again', () => {
  const expired = errorOf('TOKEN_EXPIRED', 'client')
  assert.equal(said(retryDecision({ ...failed, error: expired, final: true })), 'OUTCOME_UNKNOWN')
  assert.equal(retryDecision({ ...failed, error: expired, idempotent: true, final: true }), expired)
  assert.equal(retryDecision({ ...failed, error: expired, progress: 'unsent', final: true }), expired)
})

test('methods are idempotent as RFC 9110 says', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']) assert.ok(isIdempotent(method))
  for (const method of ['POST', 'PATCH', 'QUERYISH']) assert.ok(!isIdempotent(method))
})
