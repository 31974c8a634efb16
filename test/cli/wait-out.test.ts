import assert from 'node:assert/strict'
import test from 'node:test'
import { waitOut } from '../../cli/wait-out.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

const busy = (retryAfterMs?: number) =>
  new TunnelError('TOO_MANY_CONNECTIONS', 'a user has 32 links at most', {
    hop: 'client',
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })

test('a refusal that says when to come back is waited out, and told', async () => {
  const said: string[] = []
  let tries = 0
  const answer = await waitOut(
    async () => {
      if (++tries < 3) throw busy(10)
      return 'in'
    },
    (line) => said.push(line),
  )
  assert.deepEqual([answer, tries], ['in', 3])
  assert.deepEqual(said, Array(2).fill('a user has 32 links at most; trying again in 1 s'))
})

test('a wait that is too long or of unknown length, and a machine that is off line, are not waited out', async () => {
  const offline = new TunnelError('MACHINE_OFFLINE', 'home is not on line', {
    hop: 'client',
    retryAfterMs: 10,
  })
  for (const error of [
    busy(31_000),
    busy(),
    offline,
    new TunnelError('TOKEN_INVALID', 'no', { hop: 'client' }),
  ]) {
    let tries = 0
    const attempt = async () => {
      tries++
      throw error
    }
    await assert.rejects(
      waitOut(attempt, () => {}),
      error,
    )
    assert.equal(tries, 1)
  }
})

test('a proxy that does not answer a dial in time is dialled again; what else takes too long is not', async () => {
  const silent = new TunnelError('TIMEOUT', 'the proxy did not answer within 10 s', { hop: 'proxy' })
  let tries = 0
  const attempt = async () => {
    if (++tries < 2) throw silent
    return 'in'
  }
  const said: string[] = []
  assert.equal(await waitOut(attempt, (line) => said.push(line), { isDial: true }), 'in')
  assert.deepEqual(said, ['the proxy did not answer within 10 s; trying again in 1 s'])
  tries = 0
  await assert.rejects(
    waitOut(attempt, () => {}),
    silent,
  )
})
