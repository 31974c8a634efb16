import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { resolveSettings } from '../../client/settings.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { isolated, TUNNEL, tunnel } from '../cli/tunnel.ts'
import { Program, run } from '../support/process.ts'
import { startProxy, until } from '../support/proxy.ts'
import { requireSystem, shellLine, sshOptions, startSshd } from '../support/sshd.ts'
import { findProgram, freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'

/** Of this computer, and not loopback, which no HTTP proxy is asked for. */
const address = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.internal === false && each.family === 'IPv4')?.address

test('agent, commands and ssh go through the HTTP proxy of the environment, which wants a password', {
  skip:
    requireSystem('tinyproxy', 'sshd', 'ssh') ?? (address === undefined && 'this computer has no network'),
}, async (t) => {
  const [proxy, sshd, folder, port] = await Promise.all([
    startProxy(t),
    startSshd(t),
    tempFolder(t),
    freePort(),
  ])
  const far = await FaultRelay.listen(t, { host: address!, target: { host: '127.0.0.1', port: proxy.port } })
  const config = join(folder, 'tinyproxy.conf')
  await writeFile(config, `Port ${port}\nListen 127.0.0.1\nTimeout 600\nBasicAuth me secret\nLogLevel Info\n`)
  const tiny = new Program(findProgram('tinyproxy') ?? '', ['-d', '-c', config])
  t.after(() => tiny.stop())
  await tiny.line(/Accepting connections|listening/i)
  const url = `http://${address}:${far.port}`
  const at = `127.0.0.1:${port}`
  const settings = resolveSettings({}, 'default', { network: { proxy: `http://me:secret@${at}` } })
  await proxy.startAgent('home', 'alice', sshd, { urls: [url], settings })
  await tiny.line(`CONNECT ${address}:${far.port}`)
  const env = isolated(folder, { TUNNEL_URL: url, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  for (const name of ['HTTP_PROXY', 'http_proxy', 'NO_PROXY', 'no_proxy', 'ALL_PROXY', 'all_proxy'])
    delete env[name]
  const by = (more: NodeJS.ProcessEnv) => ({ env: { ...env, ...more } })

  const through = by({ http_proxy: `http://me:secret@${at}` })
  const listed = await tunnel(['machines'], through)
  assert.match(listed.stdout, /home/, listed.stderr)
  const proxyCommand = shellLine([...TUNNEL, 'stdio', 'home'])
  const ssh = await run('ssh', [...sshOptions(sshd, { proxyCommand }), 'home', 'echo', 'here'], through)
  assert.deepEqual([ssh.code, ssh.stdout], [0, 'here\n'], ssh.stderr)
  const ways = () => (tiny.stdout + tiny.stderr).split(`CONNECT ${address}:${far.port}`).length - 1
  // Of the agent, and of ssh.
  await until(() => ways() >= 2)

  const wanted = await tunnel(['machines'], by({ HTTP_PROXY: `http://${at}` }))
  assert.match(wanted.stderr, /asks for a name and a password \(.*HTTP_PROXY_AUTH_REQUIRED\)/)
  const wrong = by({ HTTP_PROXY: `http://me:hunter2@${at}` })
  const refused = await tunnel(['exec', 'home', '--', 'true'], wrong)
  assert.equal(refused.code, 255)
  assert.match(
    refused.stderr,
    /does not accept the name and password of its URL \(.*HTTP_PROXY_AUTH_REQUIRED\)/,
  )
  assert.doesNotMatch(refused.stderr, /hunter2/)
  const direct = await tunnel(['machines'], by({ HTTP_PROXY: 'http://127.0.0.1:9', NO_PROXY: address! }))
  assert.match(direct.stdout, /home/, direct.stderr)
})
