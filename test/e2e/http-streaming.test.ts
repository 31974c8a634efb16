import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import test from 'node:test'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { isolated, TUNNEL, tunnel } from '../cli/tunnel.ts'
import { startNginx } from '../support/nginx.ts'
import { run } from '../support/process.ts'
import { startProxy } from '../support/proxy.ts'
import { seededFile } from '../support/random.ts'
import { requireSystem, shellLine, sshOptions, startSshd } from '../support/sshd.ts'
import { fileSha256, tempFolder } from '../support/tree.ts'

const MIB = 1_048_576
/** Of the file, in MiB; 50 has been tried. */
const SIZE = 12
const PREFIX = '/some/where'

test('behind an nginx as it is out of the box, under a prefix, WebSocket does not pass and everything else does', {
  skip: requireSystem('sshd', 'ssh', 'scp', 'nginx'),
}, async (t) => {
  const [proxy, sshd, folder] = await Promise.all([startProxy(t), startSshd(t), tempFolder(t)])
  // HTTP/1.0 to the proxy, no Upgrade, answers and requests buffered: its defaults.
  const nginx = await startNginx(t, `location ${PREFIX}/ { proxy_pass ${proxy.url}/; }`)
  const [relay, agentRelay] = await Promise.all([1, 2].map(() => FaultRelay.listen(t, { target: nginx })))
  const url = `${relay!.url}${PREFIX}`
  const log: string[] = []
  await proxy.startAgent('home', 'alice', sshd, {
    urls: [`${agentRelay!.url}${PREFIX}`],
    log: (_level, message) => void log.push(message),
  })
  const env = isolated(folder, { TUNNEL_URL: url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  const proxyCommand = shellLine([...TUNNEL, 'stdio', 'home'])
  const options = sshOptions(sshd, { proxyCommand })

  await t.test('agent, client and commands take HTTP streaming by themselves, and say so', async () => {
    assert.match(log.join('\n'), /WebSocket does not pass here \(.*nginx needs.*\); using HTTP streaming/)
    const client = proxy.client('alice', { url })
    const told: unknown[] = []
    client.on('transport', (kind, why) => told.push(kind, why?.code))
    await client.connect()
    assert.deepEqual(told, ['http', 'CONNECT_REFUSED'])
    const next = await proxy.connect('alice', { url })
    assert.deepEqual([next.link?.transport, next.link?.detour], ['http', undefined], 'it is known now')
    assert.equal(String((await client.exec('home', 'echo over http')).stdout), 'over http\n')
    const before = await tunnel(['status', '--json'], { env })
    assert.equal(JSON.parse(before.stdout).transport, 'websocket', before.stderr)
    const { code, stdout, stderr } = await tunnel(['exec', 'home', '--', 'echo', 'hello'], { env })
    assert.deepEqual([code, stdout], [0, 'hello\n'], stderr)
    assert.equal(JSON.parse((await tunnel(['status', '--json'], { env })).stdout).transport, 'http')
    const refused = await tunnel(['exec', '--transport', 'websocket', 'home', '--', 'true'], { env })
    assert.match(refused.stderr, /does not pass WebSockets on/)
  })

  await t.test('stock ssh carries files both ways, and keeps every byte when links are cut', async () => {
    const [source, far, back] = ['source', 'far', 'back'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    const sha256 = await seededFile(source, 'http', SIZE * MIB)
    // Each cut falls into what is on its way.
    relay!.cutAfter((SIZE / 5) * MIB, 'up')
    agentRelay!.once('bytes', () => agentRelay!.cutAfter((SIZE / 2) * MIB, 'down'))
    const upload = await run('scp', [...options, source, `home:${far}`], { env })
    assert.equal(upload.code, 0, upload.stderr)
    assert.equal(await fileSha256(far), sha256)
    relay!.cutAfter((SIZE / 3) * MIB, 'down')
    const download = await run('scp', [...options, `home:${far}`, back], { env })
    assert.equal(download.code, 0, download.stderr)
    assert.equal(await fileSha256(back), sha256)
    assert.ok(relay!.counters.cut >= 2 && agentRelay!.counters.cut >= 1, 'links were cut')
    const { stdout, code } = await run('ssh', [...options, 'home', 'sha256sum'], { env, input: 'x' })
    assert.deepEqual([code, stdout.slice(0, 64)], [0, createHash('sha256').update('x').digest('hex')])
  })

  await t.test('a proxy that refuses is believed, and nothing else is tried', async () => {
    const wrong = proxy.client('alice', { url, token: 'no token' })
    await assert.rejects(wrong.connect(), { code: 'TOKEN_INVALID' })
    const direct = proxy.client('alice', { token: 'no token' })
    await assert.rejects(direct.connect(), { code: 'TOKEN_INVALID' })
  })
})
