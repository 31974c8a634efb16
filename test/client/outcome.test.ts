import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isIdempotent, MAX_TRIES, retryDecision } from '../../client/outcome.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

const lost = new TunnelError('RESUME_EXPIRED', 'gone', { hop: 'client' })
const failed = { error: lost, tries: 1, sent: true, idempotent: false, replayable: true, final: false }

test('a request whose outcome is unknown says so, and keeps the cause', () => {
  const decision = retryDecision(failed)
  assert.ok(decision instanceof TunnelError)
  assert.equal(decision.code, 'OUTCOME_UNKNOWN')
  assert.equal(decision.cause, lost)
})

test('an idempotent one is sent again, a bounded number of times and only when its body can be', () => {
  assert.equal(retryDecision({ ...failed, idempotent: true }), 'retry')
  assert.equal(retryDecision({ ...failed, idempotent: true, tries: MAX_TRIES }), lost)
  assert.equal(retryDecision({ ...failed, idempotent: true, replayable: false }), lost)
})

test('one that never left is sent again whatever it is', () => {
  assert.equal(retryDecision({ ...failed, sent: false }), 'retry')
})

test('one that was refused for want of a place was not executed', () => {
  assert.equal(
    retryDecision({ ...failed, error: new TunnelError('TOO_MANY_STREAMS', 'full', { hop: 'client' }) }),
    'retry',
  )
})

test('an answer of the far side is the answer', () => {
  const refused = new TunnelError('CONNECT_REFUSED', 'nobody listens', { hop: 'client' })
  assert.equal(retryDecision({ ...failed, error: refused, idempotent: true }), refused)
})

test('when no link is coming, what was sent has an unknown outcome and nothing is sent again', () => {
  const expired = new TunnelError('TOKEN_EXPIRED', 'too old', { hop: 'client' })
  const decision = retryDecision({ ...failed, error: expired, final: true })
  assert.equal((decision as TunnelError).code, 'OUTCOME_UNKNOWN')
  assert.equal(retryDecision({ ...failed, error: expired, idempotent: true, final: true }), expired)
})

test('what the proxy says of an unknown outcome is kept; only what is idempotent is sent again', () => {
  const unknown = new TunnelError('OUTCOME_UNKNOWN', 'the service closed', { hop: 'target' })
  assert.equal(retryDecision({ ...failed, error: unknown }), unknown)
  assert.equal(retryDecision({ ...failed, error: unknown, idempotent: true }), 'retry')
})

test('methods are idempotent as RFC 9110 says', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']) assert.ok(isIdempotent(method))
  for (const method of ['POST', 'PATCH', 'QUERYISH']) assert.ok(!isIdempotent(method))
})
