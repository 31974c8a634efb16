import assert from 'node:assert/strict'
import test from 'node:test'
import { isolated, TUNNEL } from '../cli/tunnel.ts'
import { spawnProgram } from '../support/process.ts'
import { startProxy } from '../support/proxy.ts'
import { requireSystem, shellLine, sshOptions, startSshd } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'

/** The promise is a second; the computer of the tests is busy. What hangs until the resume window ends takes two minutes. */
const SOON_MS = 60_000

test("a revoked user's live ssh ends, a copy of the token opens nothing, and another user's ssh goes on", {
  skip: requireSystem('ssh', 'sshd'),
}, async (t) => {
  const [proxy, sshd] = await Promise.all([startProxy(t), startSshd(t)])
  const folder = await tempFolder(t, 'revoked')
  const secrets: string[] = []
  const tokenOf = (user: string, roles: string[] = []) => {
    const token = proxy.tokenOf(user, { roles })
    secrets.push(token)
    return token
  }
  const env = (token: string) => isolated(folder, { TUNNEL_TOKEN: token })
  const proxyCommand = shellLine([...TUNNEL, 'stdio', '--url', proxy.url, 'home'])
  const sessionOf = async (user: string) => {
    const where = `${sshd.host}:${sshd.port}`
    await proxy.startAgent('home', user, where, { token: tokenOf(user, ['agent']) })
    const words = [...sshOptions(sshd, { proxyCommand }), 'home', 'echo ready; exec cat']
    const program = spawnProgram(t, 'ssh', words, { stdin: 'pipe', env: env(tokenOf(user)) })
    await program.line(/^ready$/)
    return program
  }
  const [alice, bob] = await Promise.all([sessionOf('alice'), sessionOf('bob')])
  const admin = tokenOf('root', ['admin'])
  const revokedMs = performance.now()
  const answer = await fetch(`${proxy.url}/api/tunnel/auth/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sub: 'alice' }),
  })
  assert.equal(answer.status, 204)
  const { code } = await alice.exit
  const tookMs = performance.now() - revokedMs
  t.diagnostic(`ssh ended ${Math.round(tookMs)} ms after the revocation`)
  assert.ok(tookMs < SOON_MS, `${tookMs} ms`)
  assert.equal(code, 255)
  assert.match(alice.stderr, /TOKEN_REVOKED/)

  bob.write('still here\n')
  await bob.line(/^still here$/, 'stdout')
  bob.end()
  assert.equal((await bob.exit).code, 0)

  const again = spawnProgram(t, 'ssh', [...sshOptions(sshd, { proxyCommand }), 'home', 'true'], {
    env: env(secrets[1] ?? ''),
  })
  assert.equal((await again.exit).code, 255)
  assert.equal(proxy.app.machines.find('alice', 'home')?.online, false)
  const printed = [alice.stdout, alice.stderr, again.stderr, JSON.stringify(proxy.log)].join()
  for (const secret of secrets) assert.ok(!printed.includes(secret.slice(secret.lastIndexOf('.') + 1)))
})
