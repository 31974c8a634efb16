import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { startProxy, until } from '../../support/proxy.ts'

test('a code is worth nothing once the token that made it was revoked, alone or with all of its user', async (t) => {
  const proxy = await startProxy(t)
  const post = async (route: string, token?: string, body?: object) => {
    const init = { method: 'POST', ...(token !== undefined && { token }), ...(body && { body }) }
    const response = await proxy.api(undefined, route, init)
    const text = await response.text()
    return { status: response.status, answer: JSON.parse(text || '{}') as Record<string, string> }
  }
  const codeBy = async (token: string, machine: string) =>
    (await post(`machines/${machine}/enrolment`, token)).answer.code
  const use = async (code: string | undefined) => (await post('enrolments', undefined, { code })).answer.code
  const [stolen, other] = [proxy.tokenOf('alice'), proxy.tokenOf('alice')]
  const bobs = await codeBy(proxy.tokenOf('bob'), 'home')
  const [first, second, mine] = [
    await codeBy(stolen, 'one'),
    await codeBy(stolen, 'two'),
    await codeBy(other, 'three'),
  ]
  assert.equal((await post('auth/revoke', stolen, {})).status, 204)
  assert.equal(await use(first), 'TOKEN_REVOKED')
  const admin = proxy.tokenOf('root', { roles: ['admin'] })
  assert.equal((await post('auth/revoke', admin, { sub: 'alice' })).status, 204)
  for (const code of [second, mine]) assert.equal(await use(code), 'TOKEN_REVOKED')
  assert.equal(await use(bobs), undefined)
})

test('a machine gets a token for itself alone, for a code that its owner made', async (t) => {
  const proxy = await startProxy(t)
  const post = async (route: string, headers: Record<string, string>, body?: unknown) => {
    const json = body === undefined ? {} : { body: JSON.stringify(body) }
    const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
    const response = await fetch(`${proxy.url}/api/tunnel/${route}`, {
      method: 'POST',
      headers: { ...headers, ...type },
      ...json,
    })
    return { status: response.status, answer: (await response.json()) as Record<string, string> }
  }
  const as = (token: string) => ({ authorization: `Bearer ${token}` })
  const alice = as(proxy.tokenOf('alice'))

  const made = await post('machines/home/enrolment', alice)
  assert.equal(made.status, 201)
  assert.equal(made.answer.machine, 'home')
  const { status, answer } = await post('enrolments', {}, { code: made.answer.code })
  assert.equal(status, 200)
  assert.deepEqual([answer.user, answer.machine], ['alice', 'home'])
  const token = answer.token!

  await t.test('its agent comes on line under that name, and under no other', async () => {
    const agent = await proxy.startAgent('home', 'alice', '127.0.0.1:1', { token })
    await until(() => proxy.app.machines.find('alice', 'home')?.online === true)
    await agent.close()
    await assert.rejects(
      proxy.startAgent('nas', 'alice', '127.0.0.1:1', { token }),
      /for the machine home alone/,
    )
    assert.equal(proxy.app.machines.find('alice', 'nas'), undefined)
  })

  await t.test('the token makes no further code, and nobody else does without one', async () => {
    assert.equal((await post('machines/nas/enrolment', as(token))).answer.code, 'FORBIDDEN')
    assert.equal((await post('machines/nas/enrolment', {})).answer.code, 'TOKEN_MISSING')
    assert.equal((await post('machines/NAS/enrolment', alice)).answer.code, 'REQUEST_INVALID')
  })

  await t.test(
    'what is no code is refused in the same words as a used one, and an address is soon told to wait',
    async () => {
      const again = await post('enrolments', {}, { code: made.answer.code })
      assert.deepEqual([again.status, again.answer.code], [401, 'TICKET_INVALID'])
      const wrong = await post('enrolments', {}, { code: '0000-0000-0000-0000' })
      assert.equal(wrong.answer.detail, again.answer.detail)
      assert.equal((await post('enrolments', {}, { code: {} })).status, 400)
      assert.equal((await post('enrolments', {}, { code: 'x'.repeat(100) })).status, 400)
      const codes: (string | undefined)[] = []
      for (let attempt = 0; attempt < 10; attempt++)
        codes.push((await post('enrolments', {}, { code: 'x' })).answer.code)
      assert.equal(codes.at(-1), 'RATE_LIMITED')
      // Whoever has a token is not limited by it.
      assert.equal((await post('machines/nas/enrolment', alice)).status, 201)
    },
  )

  await t.test('the audit trail has who made, used and tried a code, and never the code', async () => {
    const file = join(proxy.settings.state.dir, 'audit.log')
    const text = await readFile(file, 'utf8')
    const events = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event: string }).event)
    for (const event of ['enrolment.code_made', 'enrolment.code_used', 'auth.refused'])
      assert.ok(events.includes(event), event)
    assert.ok(!text.includes(made.answer.code!))
    assert.ok(!JSON.stringify(proxy.log).includes(token))
  })
})
