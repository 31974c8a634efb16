import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import test, { type TestContext } from 'node:test'
import {
  type DiagnosticName,
  type DiagnosticOptions,
  type DiagnosticReport,
  TunnelService,
  type TunnelServiceOptions,
} from '../../client/index.ts'
import { Detours } from '../../dial/detours.ts'
import { dialWith } from '../../dial/dial-proxy.ts'
import type { ErrorCode } from '../../protocol/codec/errors.ts'
import { type Certificate, makeCertificate } from '../support/certificate.ts'
import { startConnectProxy } from '../support/connect-proxy.ts'
import { startWithoutWebSockets } from '../support/no-websockets.ts'
import { listenTcp, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'

const skip = requireSystem('sshd')

function step(report: DiagnosticReport, name: DiagnosticName) {
  const found = report.steps.find((each) => each.name === name)
  assert.ok(found, `there is no step ${name}`)
  return found
}

/** That this is the first that fails, with advice; and whether the steps named went well. */
function failsAt(
  report: DiagnosticReport,
  name: DiagnosticName,
  code: ErrorCode,
  well: DiagnosticName[] = [],
): void {
  const told = report.steps.map((each) => `${each.name} ${each.status}: ${each.detail}`).join('\n')
  assert.equal(report.firstFailure?.name, name, told)
  assert.equal(report.firstFailure.code, code, told)
  // Where a key is not let in, the proxy's own words say what to do.
  if (code !== 'SSH_AUTH_FAILED') assert.notEqual(report.firstFailure.suggestion, '', told)
  assert.equal(report.ok, false)
  for (const each of well) assert.equal(step(report, each).status, 'ok', told)
}

function diagnose(
  proxy: TestProxy | string,
  options: DiagnosticOptions = {},
  more: Partial<TunnelServiceOptions> = {},
): Promise<DiagnosticReport> {
  const url = typeof proxy === 'string' ? proxy : proxy.url
  const token = typeof proxy === 'string' ? 'no.such.token' : proxy.tokenOf('alice')
  return new TunnelService({ url, token, ...more }).runDiagnostics(options)
}

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

test('each hop that fails is named, with all that can be tried behind it', { skip }, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t), startSshd(t)])
  const agent = await proxy.startAgent('home', 'alice', sshd)
  const web = createHttpServer((_request, response) => response.writeHead(404).end())
  const port = await listen(t, web)

  await t.test('a way that is good', async () => {
    const seen: string[] = []
    const report = await diagnose(proxy, {
      machine: 'home',
      target: `127.0.0.1:${port}`,
      onStep: ({ name }) => seen.push(name),
    })
    assert.equal(report.ok, true, JSON.stringify(report.firstFailure))
    assert.deepEqual(
      seen,
      report.steps.map(({ name }) => name),
    )
    const skipped = report.steps.filter(({ status }) => status === 'skipped').map(({ name }) => name)
    assert.deepEqual(skipped, ['dns', 'http-proxy', 'tls'])
    assert.match(step(report, 'sshd').detail, /^SSH-2\.0-OpenSSH/)
    assert.match(step(report, 'host-key').detail, /^SHA256:/)
    assert.match(step(report, 'request').detail, /answered 404/)
    assert.match(step(report, 'throughput').detail, /MB\/s down, .*MB\/s up/)
    // Nothing is left of it: its links have gone.
    assert.equal((await diagnose(proxy)).ok, true)
  })

  await t.test(
    'a port at which nothing listens on the machine, and one that speaks another language',
    async () => {
      const closed = await diagnose(proxy, { machine: 'home', target: '127.0.0.1:9' })
      failsAt(closed, 'request', 'CONNECT_REFUSED', ['agent', 'sshd', 'ssh-authentication', 'throughput'])
      const other = await listenTcp(t, (socket) => socket.write('220 mail ready\r\n'))
      const { firstFailure } = await diagnose(proxy, { machine: 'home', target: other })
      assert.equal(firstFailure, undefined)
    },
  )

  await t.test('a key that the machine does not let in', async () => {
    await proxy.startAgent('shed', 'bob', `127.0.0.1:${sshd.port}`)
    const report = await diagnose(proxy, { machine: 'shed' }, { token: proxy.tokenOf('bob') })
    failsAt(report, 'ssh-authentication', 'SSH_AUTH_FAILED', ['agent', 'sshd', 'host-key'])
    assert.equal(step(report, 'request').status, 'skipped')
  })

  await t.test('another host key than the pinned one', async (t) => {
    const other = await startSshd(t)
    const agent = await proxy.startAgent('shed', 'carol', sshd)
    await agent.close()
    const again = await proxy.startAgent('shed', 'carol', other)
    const report = await diagnose(proxy, { machine: 'shed' }, { token: proxy.tokenOf('carol') })
    failsAt(report, 'host-key', 'HOST_KEY_CHANGED', ['agent', 'sshd'])
    await again.close()
  })

  await t.test('tokens: wrong, none, expired by a clock that is wrong', async (t) => {
    failsAt(await diagnose(proxy, {}, { token: 'a.b.c' }), 'authentication', 'TOKEN_INVALID', [
      'tcp',
      'upgrade',
    ])
    const broken = async () => {
      throw new Error('the safe is locked')
    }
    failsAt(await diagnose(proxy, {}, { token: broken }), 'authentication', 'TOKEN_MISSING', ['upgrade'])
    const token = proxy.tokenOf('alice', { ttlSeconds: 60 })
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 7_300_000 })
    const report = await diagnose(proxy, {}, { token })
    failsAt(report, 'authentication', 'TOKEN_EXPIRED', ['upgrade'])
    assert.match(report.firstFailure?.suggestion ?? '', /clock is 2 h ahead of the proxy's/)
  })

  await t.test('an SSH server that has stopped, an agent that has, a machine that never was', async () => {
    await sshd.close()
    const stopped = await diagnose(proxy, { machine: 'home' })
    failsAt(stopped, 'sshd', 'CONNECT_REFUSED', ['agent'])
    assert.equal(step(stopped, 'ssh-authentication').status, 'failed')
    await agent.close()
    failsAt(await diagnose(proxy, { machine: 'home' }), 'agent', 'MACHINE_OFFLINE', ['hello', 'round-trip'])
    const none = await diagnose(proxy, { machine: 'attic' })
    failsAt(none, 'agent', 'MACHINE_UNKNOWN')
    assert.match(step(none, 'agent').detail, /yours: home/)
  })
})

test('what stands in the place of a proxy is told', async (t) => {
  failsAt(await diagnose('http://nowhere.invalid:3001'), 'dns', 'DNS_FAILED')
  failsAt(await diagnose('http://127.0.0.1:9'), 'tcp', 'CONNECT_REFUSED')
  const web = createHttpServer((_request, response) => response.writeHead(200).end('hello'))
  failsAt(await diagnose(`http://127.0.0.1:${await listen(t, web)}`), 'upgrade', 'CONNECT_REFUSED', ['tcp'])
  const silent = await listenTcp(t, () => {})
  failsAt(await diagnose(`http://${silent}`, { stepMs: 200 }), 'upgrade', 'TIMEOUT', ['tcp'])
  const plain = await diagnose(`https://${silent}`, { stepMs: 200 })
  failsAt(plain, 'tls', 'TIMEOUT', ['tcp'])
  // Several addresses: each is tried, and says which it is.
  const both = await diagnose('', {}, { url: ['http://127.0.0.1:9', 'http://127.0.0.1:10'] })
  assert.deepEqual(
    both.steps.filter(({ status }) => status === 'failed').map(({ address }) => address),
    ['http://127.0.0.1:9', 'http://127.0.0.1:10'],
  )
  await assert.rejects(diagnose('http://127.0.0.1:9', { signal: AbortSignal.abort() }), { code: 'ABORTED' })
})

test('an HTTP proxy on the way is a hop of its own', async (t) => {
  const proxy = await startProxy(t)
  const { at, seen } = await startConnectProxy(t, 'me:secret')
  const through = (url: string) => diagnose(proxy, {}, { settings: { network: { proxy: url } } })
  const good = await through(`http://me:secret@${at}`)
  assert.equal(good.ok, true, JSON.stringify(good.firstFailure))
  assert.deepEqual(
    (['tcp', 'http-proxy', 'upgrade', 'round-trip'] as const).map((name) => step(good, name).status),
    Array(4).fill('ok'),
  )
  assert.equal(step(good, 'http-proxy').detail, `through ${at}`)
  assert.ok(seen.includes(`CONNECT ${new URL(proxy.url).host}`))
  const stranger = await through(`http://${at}`)
  failsAt(stranger, 'http-proxy', 'HTTP_PROXY_AUTH_REQUIRED', ['tcp'])
  assert.equal(step(stranger, 'upgrade').status, 'skipped')
  const mail = await listenTcp(t, (socket) => socket.end('220 mail ready\r\n'))
  failsAt(await through(`http://${mail}`), 'http-proxy', 'HTTP_PROXY_FAILED', ['tcp'])
  const nobody = await through('http://127.0.0.1:9')
  failsAt(nobody, 'tcp', 'HTTP_PROXY_FAILED')
  assert.equal(step(nobody, 'http-proxy').status, 'skipped')
})

test('a certificate that nobody has signed, and one that has expired, are told with their dates', async (t) => {
  const made = await makeCertificate(t)
  if (made === undefined) return t.skip('there is no openssl')
  const serve = async ({ certFile, keyFile }: Certificate) => {
    const options = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
    return `https://localhost:${await listen(
      t,
      createHttpsServer(options, (_request, response) => response.writeHead(404).end()),
    )}`
  }
  const unsigned = await diagnose(await serve(made))
  failsAt(unsigned, 'tls', 'CERTIFICATE_UNTRUSTED', ['dns', 'tcp'])
  assert.match(unsigned.firstFailure?.detail ?? '', /is signed by itself/)
  const known = await diagnose(await serve(made), {}, { settings: { tls: { ca: made.certFile } } })
  assert.match(step(known, 'tls').detail, /TLSv1\.3, X25519.*, TLS_AES_256_GCM_SHA384, good until \d{4}-/)
  assert.equal(step(unsigned, 'upgrade').status, 'skipped')

  const expired = { ...made, certFile: `${made.certFile}.old` }
  const sign = [
    'x509',
    '-in',
    made.certFile,
    '-signkey',
    made.keyFile,
    '-days',
    '-1',
    '-out',
    expired.certFile,
  ]
  const { status, stderr } = spawnSync('openssl', sign, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  const late = await diagnose(await serve(expired), {}, { settings: { tls: { ca: expired.certFile } } })
  failsAt(late, 'tls', 'CERTIFICATE_EXPIRED', ['dns', 'tcp'])
  assert.match(late.firstFailure?.detail ?? '', /expired on \d{4}-/)
})

test('a diagnosis that is called off while it has a link leaves none behind', async (t) => {
  const proxy = await startProxy(t)
  const abort = new AbortController()
  const onStep = ({ name }: { name: DiagnosticName }): void => {
    if (name === 'hello') abort.abort()
  }
  await assert.rejects(diagnose(proxy, { signal: abort.signal, onStep }), { code: 'ABORTED' })
  await until(() => proxy.app.links.count === 0, 5_000)
})

test('a diagnosis that is called off does not wait for a dial that nobody answers', async (t) => {
  const server = createHttpServer()
  const port = await listen(t, server)
  const abort = new AbortController()
  // What is asked for is never answered: the diagnosis is at its dial.
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {})
    abort.abort()
  })
  // For longer than a test may take.
  const options = { signal: abort.signal, stepMs: 3_600_000 }
  await assert.rejects(diagnose(`http://127.0.0.1:${port}`, options), { code: 'ABORTED' })
})

test('where no WebSocket passes and HTTP streaming carries the link, that is a warning and no failure', async (t) => {
  const proxy = await startProxy(t)
  const url = await startWithoutWebSockets(t, proxy.port)
  // A memory of its own for each: what one finds out is news to the next.
  const fresh = () => ({ url, platform: { dial: dialWith(new Detours()) } })
  const report = await diagnose(proxy, {}, fresh())
  assert.equal(report.ok, true, JSON.stringify(report.firstFailure))
  assert.equal(report.firstFailure, undefined)
  const upgrade = step(report, 'upgrade')
  assert.equal(upgrade.status, 'warning')
  assert.match(upgrade.detail, /^no WebSocket passes \(.*answered 403.*\): HTTP streaming is used instead$/)
  assert.match(upgrade.suggestion ?? '', /pass WebSockets on/)
  assert.equal(upgrade.code, 'CONNECT_REFUSED')
  assert.equal(step(report, 'round-trip').status, 'ok')

  for (const token of ['a.b.c', () => Promise.reject(new Error('there is none'))]) {
    const refused = await diagnose(proxy, {}, { ...fresh(), token })
    assert.equal(refused.firstFailure?.name, 'authentication')
    assert.equal(step(refused, 'upgrade').status, 'warning', String(token))
  }

  const asAsked = await diagnose(proxy, {}, { ...fresh(), settings: { network: { transport: 'http' } } })
  assert.deepEqual(
    [step(asAsked, 'upgrade').status, step(asAsked, 'upgrade').detail],
    ['ok', 'HTTP streaming, as the setting network.transport says'],
  )
  const straight = await diagnose(proxy, {}, { ...fresh(), url: proxy.url })
  assert.equal(step(straight, 'upgrade').status, 'ok')
  const never = await diagnose(proxy, {}, { ...fresh(), settings: { network: { transport: 'websocket' } } })
  failsAt(never, 'upgrade', 'CONNECT_REFUSED', ['tcp'])
})
