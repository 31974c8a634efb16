import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Access } from '../../../cli/credentials.ts'
import { Attempt } from '../../../cli/login/attempt.ts'
import { Ending } from '../../../cli/login/ending.ts'
import { freshToken, type KeptLogin } from '../../../cli/login/kept-login.ts'
import { spawnProgram } from '../../support/process.ts'
import { onTerminal, requirePty } from '../on-terminal.ts'
import { isolated, startTunnel, TUNNEL } from '../tunnel.ts'
import { loggedIn, startHeldIssuer, tokenOf } from './held-issuer.ts'

const skip = requirePty()
const read = (path: string) => readFileSync(path, 'utf8')
const loginIn = (path: string) => JSON.parse(read(path)) as KeptLogin

const accessTo = (url: string): Access => ({ urls: [url], token: '', isTokenless: true, given: [] })

/** What is beside the two files where all is in order. */
const litterIn = (place: string) =>
  readdirSync(place).filter((name) => !/^(config|work\.login)\.json$/.test(name))

/** Marks a file as another program's to change, and answers when somebody has come for a turn; `over` ends that. */
function takeTurn(t: TestContext, file: string) {
  const lock = `${file}.lock`
  mkdirSync(lock)
  writeFileSync(join(lock, `${process.pid}.00.${hostname()}`), '')
  const watcher = watch(join(file, '..'))
  t.after(() => watcher.close())
  const wanted = new Promise<void>((resolve) => {
    watcher.on('change', (_event, name) => String(name).startsWith(`${lock.split('/').at(-1)}.`) && resolve())
  })
  return { wanted, over: () => rmSync(lock, { recursive: true }) }
}

/** Where a login is stopped, and what it says then. */
const LOGIN: readonly [heldAt: string, said: RegExp][] = [
  ['/api/tunnel/auth/login', /nothing of this login was kept/],
  ['/.well-known', /nothing of this login was kept/],
  ['/device', /nothing of this login was kept/],
  ['/token', /nothing of this login was kept/],
  ['/api/tunnel/machines', /nothing of this login was kept/],
  ['/revoke', /the login is kept, and work is used now, but \S+ may not have revoked the earlier token/],
]
const LOGOUT: readonly [heldAt: string, said: RegExp][] = [
  [
    '/api/tunnel/auth/revoke',
    /work is logged out here, but the proxy (and http:\S+ )?may not have heard of it/,
  ],
  ['/revoke', /work is logged out here, but (the proxy and )?http:\S+ may not have heard of it/],
]
const SIGNALS = [['SIGINT', 130] as const, ['SIGTERM', 143] as const]

/** What a login says before it waits for its confirmation. */
const PROMPT = /^Open \S+\nand confirm the code \S+ Waiting…\n/

/** Stops a command whose answer is held back at an address, and answers with what is left. */
async function stopped(
  t: TestContext,
  name: 'login' | 'logout',
  heldAt: string,
  signal: 'SIGINT' | 'SIGTERM',
) {
  const issuer = await startHeldIssuer(t, heldAt)
  const { folder, place, file, path } = await loggedIn(t, issuer.url)
  const before = [read(file), read(path)]
  const words = name === 'login' ? ['login', 'work', '--url', issuer.url] : ['logout']
  const program = startTunnel(t, words, { env: isolated(folder) })
  await issuer.held
  program.kill(signal)
  const { code } = await program.exit
  const after = [existsSync(file) ? read(file) : undefined, read(path)]
  assert.deepEqual(litterIn(place), [], heldAt)
  return { code, said: program.stderr.replace(PROMPT, ''), stdout: program.stdout, before, after }
}

for (const [signal, status] of SIGNALS) {
  test(`${signal} ends a login at each of its steps: all of it is kept or nothing, and one line says which`, async (t) => {
    for (const [heldAt, expected] of LOGIN) {
      const { code, said, stdout, before, after } = await stopped(t, 'login', heldAt, signal)
      assert.equal(code, status, `${heldAt}: ${said}`)
      assert.match(said, /^tunnel login: stopped; [^\n]+\n$/, heldAt)
      assert.match(said, expected, heldAt)
      assert.equal(stdout, '', heldAt)
      if (heldAt === '/revoke') assert.equal(JSON.parse(after[0] ?? '').refreshToken, 'refresh-bob')
      else assert.deepEqual(after, before, heldAt)
    }
  })

  test(`${signal} ends a logout that waits for the proxy or the issuer: here it is done, and one line says what is not`, async (t) => {
    for (const [heldAt, expected] of LOGOUT) {
      const { code, said, stdout, after } = await stopped(t, 'logout', heldAt, signal)
      assert.equal(code, status, `${heldAt}: ${said}`)
      assert.match(said, /^tunnel logout: stopped; [^\n]+; the token holds there until [^\n]+\n$/, heldAt)
      assert.match(said, expected, heldAt)
      assert.equal(stdout, '', heldAt)
      assert.equal(after[0], undefined)
      assert.doesNotMatch(after[1] ?? '', /loginFile/)
    }
  })
}

test('Ctrl-C ends a login that waits for its confirmation, and keeps nothing of it', { skip }, async (t) => {
  const issuer = await startHeldIssuer(t, '/token')
  const { folder, place, file, path } = await loggedIn(t, issuer.url)
  const before = [read(file), read(path)]
  const words = [...TUNNEL, 'login', 'work', '--url', issuer.url]
  const program = onTerminal(t, words, { env: isolated(folder), stdin: 'pipe' })
  await program.line(/ABCD-EFGH\. Waiting…/)
  program.write('\u0003')
  assert.equal((await program.exit).code, 130)
  assert.match(program.stdout, /Waiting…\r\n(\^C)?tunnel login: stopped; nothing of this login was kept\r\n$/)
  assert.deepEqual([read(file), read(path), ...litterIn(place)], before)
})

test('with --json a login that is stopped says so as of an error', async (t) => {
  const issuer = await startHeldIssuer(t, '/device')
  const { folder } = await loggedIn(t, issuer.url)
  const program = startTunnel(t, ['login', '--json', '--url', issuer.url], { env: isolated(folder) })
  await issuer.held
  program.kill('SIGTERM')
  assert.equal((await program.exit).code, 143)
  const { error } = JSON.parse(program.stderr)
  assert.deepEqual([error.code, error.exitStatus], ['ABORTED', 143])
})

test('a login that is stopped while it waits for its turn at the file leaves the one before it', async (t) => {
  const issuer = await startHeldIssuer(t, undefined)
  const { folder, file, path } = await loggedIn(t, issuer.url)
  const before = [read(file), read(path)]
  const turn = takeTurn(t, file)
  const program = startTunnel(t, ['login', 'work', '--url', issuer.url], { env: isolated(folder) })
  await turn.wanted
  program.kill('SIGINT')
  assert.equal((await program.exit).code, 130)
  assert.match(program.stderr, /^tunnel login: stopped; nothing of this login was kept$/m)
  assert.deepEqual([read(file), read(path)], before)
})

test('a login that is stopped between its two files is kept whole', async (t) => {
  const issuer = await startHeldIssuer(t, undefined)
  const { file, path, place } = await loggedIn(t, issuer.url)
  writeFileSync(path, '{}', { mode: 0o600 })
  writeFileSync(join(place, 'work.token'), 'old', { mode: 0o600 })
  const turn = takeTurn(t, path)
  const stop = new AbortController()
  const attempt = new Attempt(accessTo(issuer.url), { path, name: 'work' }, stop.signal)
  const done = attempt.run(() => {})
  await turn.wanted
  assert.equal(loginIn(file).refreshToken, 'refresh-bob')
  stop.abort()
  assert.ok(attempt.graceMs > 20_000)
  turn.over()
  await done
  assert.match(attempt.left, /^the login is kept, and work is used now$/)
  assert.equal(JSON.parse(read(path)).contexts.work.loginFile, file)
  assert.deepEqual(litterIn(place), [])
  assert.deepEqual(issuer.revoked, ['refresh-alice'])
})

test('a login that cannot be put down in the configuration file leaves the one before it, or none', async (t) => {
  const issuer = await startHeldIssuer(t, undefined)
  const { file, path, place } = await loggedIn(t, issuer.url)
  const before = read(file)
  writeFileSync(path, '{', { mode: 0o600 })
  for (const name of ['work', 'other']) {
    const keeping = { path, name }
    const { signal } = new AbortController()
    const attempt = new Attempt(accessTo(issuer.url), keeping, signal)
    await assert.rejects(
      attempt.run(() => {}),
      { code: 'CONFIG_INVALID' },
    )
    assert.equal(attempt.left, 'nothing of this login was kept')
  }
  assert.equal(read(file), before)
  assert.deepEqual(litterIn(place), [])
})

test('a logout that cannot be put down in the configuration file ends the login all the same', async (t) => {
  const issuer = await startHeldIssuer(t, undefined)
  const { file, path } = await loggedIn(t, issuer.url)
  writeFileSync(path, '{', { mode: 0o600 })
  const ending = new Ending(
    { path, name: 'work', access: accessTo(issuer.url), file },
    new AbortController().signal,
  )
  await assert.rejects(ending.run(), { code: 'CONFIG_INVALID' })
  assert.deepEqual([existsSync(file), ending.notReached, issuer.revoked], [false, [], ['refresh-alice']])
})

test('a command that is stopped while it renews the login keeps what the issuer answers, as it may answer once', async (t) => {
  for (const line of [['machines'], ['request', 'http://home:1/']]) {
    const issuer = await startHeldIssuer(t, '/token')
    const { folder, file, place } = await loggedIn(t, issuer.url, 1)
    const program = startTunnel(t, line, { env: isolated(folder) })
    await issuer.held
    program.kill('SIGINT')
    issuer.release()
    await program.exit
    assert.deepEqual([loginIn(file).accessToken, loginIn(file).refreshToken], [tokenOf('bob'), 'refresh-bob'])
    assert.deepEqual(litterIn(place), [])
  }
})

test('a command that is stopped before it has asked for new tokens leaves the login as it was', async (t) => {
  const issuer = await startHeldIssuer(t, '/.well-known')
  const { folder, file, login } = await loggedIn(t, issuer.url, 1)
  const program = startTunnel(t, ['machines'], { env: isolated(folder) })
  await issuer.held
  program.kill('SIGINT')
  const { code, signal } = await program.exit
  assert.deepEqual([code, signal, program.stderr], [null, 'SIGINT', ''])
  assert.deepEqual(loginIn(file), login)
})

test('a login that a killed program was renewing is renewed by the next one at once', async (t) => {
  const issuer = await startHeldIssuer(t, undefined)
  const { file, login } = await loggedIn(t, issuer.url, 1)
  const killed = spawnProgram(t, 'true', [])
  await killed.exit
  const renewingUntilMs = Date.now() + 39_000
  const renewingBy = `${killed.pid}.00.${hostname()}`
  writeFileSync(file, JSON.stringify({ ...login, renewingUntilMs, renewingBy }), { mode: 0o600 })
  assert.equal(await freshToken(file), tokenOf('bob'))
  assert.ok(Date.now() < renewingUntilMs)
  assert.deepEqual(
    Object.keys(loginIn(file)).filter((name) => name.startsWith('renewing')),
    [],
  )
})
