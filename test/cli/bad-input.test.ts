import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import { readSecrets } from '../../config/secrets.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { listenTcp } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel, tunnelLines } from './tunnel.ts'
import { buildWay } from './way.ts'

const skip = requireSystem('sshd', 'ssh')

test('what goes wrong on the way is one line at the person, with its hop, its code and its status', {
  skip,
}, async (t) => {
  const way = await buildWay(t)
  const { env } = way
  /** Runs commands that fail, one after the other, and gives the only line of each. */
  const allFail = async (lines: readonly string[], status: number, more: NodeJS.ProcessEnv = {}) => {
    const words = lines.map((line) => line.split(' '))
    const printed = await tunnelLines(words, { ...env, ...more })
    for (const [index, { code, stdout, stderr }] of printed.entries()) {
      assert.equal(code, status, `${lines[index]}: ${stderr}`)
      assert.equal(stdout, '')
      assert.match(stderr, /^tunnel \w+: [^\n]+\n$/)
    }
    return printed.map(({ stderr }) => stderr)
  }
  /** The same of one. */
  const failing = async (line: string, status: number, more: NodeJS.ProcessEnv = {}): Promise<string> =>
    (await allFail([line], status, more))[0] ?? ''

  await t.test('an expired token, and none', async () => {
    const secret = readSecrets(env.TUNNEL_STATE_DIR ?? '')?.jwtSecret ?? ''
    const expired = signToken(secret, { sub: 'alice', ttlSeconds: -3_600 })
    const bare = { TUNNEL_STATE_DIR: '/nonexistent' }
    const lines = ['machines', 'stdio home', 'request http://home:80/']
    for (const said of await allFail(lines, 3, { TUNNEL_TOKEN: expired }))
      assert.match(said, /\(proxy, TOKEN_EXPIRED\)/)
    for (const said of await allFail(lines, 3, bare)) assert.match(said, /\(client, TOKEN_MISSING\)/)
  })

  await t.test('a port of the machine that refuses', async () => {
    const port = await freePort()
    assert.match(await failing(`request http://home:${port}/`, 4), /\(target, CONNECT_REFUSED\)/)
  })

  await t.test('an SSH server that is not there, seen from its machine', async (t) => {
    const port = await freePort()
    const agent = startTunnel(t, ['agent', '--machine', 'empty', '--ssh', `127.0.0.1:${port}`], { env })
    await agent.line(/no SSH server answers/)
    await agent.line(/on line/)
    assert.match(await failing('stdio empty', 4), /\(agent, CONNECT_REFUSED\)/)
    await agent.stop()
  })

  await t.test('a machine that is off line, and says since when', async () => {
    const { stdout } = await tunnel(['machines'], { env })
    assert.match(stdout, /^empty +off line/m)
    assert.match(await failing('stdio empty', 4), /\(proxy, MACHINE_OFFLINE\)/)
    assert.match(await failing('exec empty -- true', 255), /\(proxy, MACHINE_OFFLINE\)/)
    await tunnel(['machines', '--forget', 'empty'], { env })
    assert.match(await failing('stdio empty', 4), /\(proxy, MACHINE_UNKNOWN\)/)
    assert.match(await failing('machines --forget empty', 4), /\(proxy, MACHINE_UNKNOWN\)/)
  })

  await t.test('a user key that sshd does not let in', async (t) => {
    const other = await startSshd(t)
    const agent = startTunnel(t, ['agent', '--machine', 'strange', '--ssh', `127.0.0.1:${other.port}`], {
      env,
    })
    await agent.line(/on line/)
    assert.match(
      await failing('exec strange -- true', 255),
      /: run "tunnel key --authorize" on it, [^\n]*\(ssh, SSH_AUTH_FAILED\)$/m,
    )
    await agent.stop()
  })

  await t.test('a host key that has changed, until its owner trusts it', async (t) => {
    // The same name in front of another sshd: what a machine that was set up anew looks like.
    const anew = await startSshd(t)
    await anew.authorize((await tunnel(['key'], { env })).stdout)
    await way.agent.stop()
    const agent = startTunnel(t, ['agent', '--machine', 'home', '--ssh', `127.0.0.1:${anew.port}`], { env })
    await agent.line(/on line/)
    const line = await failing('exec home -- true', 255)
    assert.match(line, /\(ssh, HOST_KEY_CHANGED\): [^\n]*tunnel machines --trust NAME/)
    assert.match((await tunnel(['machines'], { env })).stdout, /^home +HOST KEY CHANGED/m)
    const trusted = await tunnel(['machines', '--trust', 'home'], { env })
    assert.match(trusted.stdout, /^home is known by ssh-ed25519 SHA256:\S+/)
    assert.equal((await tunnel(['exec', 'home', '--', 'echo in'], { env })).stdout, 'in\n')
  })

  await t.test('a profile that there is not, for every command that reaches a proxy', async () => {
    const commands = ['machines', 'status', 'key', 'stdio home', 'request http://home:80/']
    const lines = commands.map((command) => `${command} --profile nope`)
    for (const told of await allFail(lines, 2)) {
      assert.match(told, /"nope" is not a known profile; known are default, .*\(client, CONFIG_INVALID\)/)
    }
    assert.match(await failing('machines', 2, { TUNNEL_PROFILE: 'nope' }), /"nope"/)
  })

  await t.test(
    'settings of the environment hold for commands too, and their mistakes are named',
    async () => {
      const wrong = { TUNNEL_REQUEST_TIMEOUT_MS: 'abc', TUNNEL_BACKOFF_JITTR: '1' }
      const lines = ['exec home -- true', 'stdio home', 'request http://home:80/']
      for (const told of await allFail(lines, 2, wrong)) {
        assert.match(told, /request\.timeoutMs = "abc" \(environment/)
        assert.match(told, /TUNNEL_BACKOFF_JITTR .*did you mean/)
      }
      // The machine of before, whose key its owner has to trust again.
      const agent = await way.startAgent()
      assert.match(await failing('exec home -- true', 255), /HOST_KEY_CHANGED/)
      await tunnel(['machines', '--trust', 'home'], { env })
      const silent = await listenTcp(t, () => {})
      const impatient = { TUNNEL_REQUEST_TIMEOUT_MS: '50' }
      assert.match(await failing(`request http://home:${silent.split(':')[1]}/`, 4, impatient), /TIMEOUT/)
      await agent.stop()
    },
  )

  await t.test('a proxy that is not there, where another of --url is', async () => {
    const gone = `http://127.0.0.1:${await freePort()}`
    const lines = [
      [gone, way.url],
      [way.url, gone],
    ].map((urls) => ['machines', ...urls.flatMap((url) => ['--url', url])])
    for (const { code, stdout, stderr } of await tunnelLines(lines, env)) {
      assert.equal(code, 0, stderr)
      assert.match(stdout, /^home +o/m)
    }
  })

  await t.test('machines takes one wish at a time', async () => {
    assert.match(await failing('machines --trust a --forget b', 2), /no two of them/)
  })
})

test('an address where something else listens is no tunnel proxy', async (t) => {
  const env = isolated(await tempFolder(t), { TUNNEL_TOKEN: 'x' })
  const web = createServer((_request, response) => response.end('<html>welcome</html>'))
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  t.after(() => web.close())
  const silent = await listenTcp(t, (socket) => socket.once('data', () => socket.destroy()))
  for (const url of [`http://127.0.0.1:${(web.address() as AddressInfo).port}`, `http://${silent}`]) {
    const lines = [['machines'], ['status'], ['stdio', 'home'], ['key']]
    const printed = await tunnelLines(lines, { ...env, TUNNEL_URL: url })
    for (const [index, { code, stderr }] of printed.entries()) {
      assert.equal(code, 4, `${lines[index]}: ${stderr}`)
      assert.match(stderr, /^tunnel \w+: [^\n]*(CONNECT_REFUSED|LINK_LOST)[^\n]*\n$/)
      assert.doesNotMatch(stderr, /welcome/)
    }
  }
})
