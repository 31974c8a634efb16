import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { makeCertificate } from '../support/certificate.ts'
import { mustRun, spawnProgram } from '../support/process.ts'
import { startProxy, until } from '../support/proxy.ts'
import { requireSystem, shellLine, sshOptions, startSshd } from '../support/sshd.ts'
import { findProgram, freePort } from '../support/system.ts'
import { TUNNEL_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { deploy } from './prometheus.ts'

/** Two proxies with one agent's links, and where what stands before them listens. */
async function startTwo(t: TestContext) {
  const set = ['server.trustProxy=["127.0.0.1"]']
  const [one, sshd, certificate] = await Promise.all([
    startProxy(t, { set }),
    startSshd(t),
    makeCertificate(t),
  ])
  const other = await startProxy(t, { set, sharing: one })
  for (const proxy of [one, other]) await proxy.startAgent('home', 'alice', sshd)
  const folder = await tempFolder(t, 'balancer')
  assert.ok(certificate)
  const { certFile, keyFile } = certificate
  await writeFile(join(folder, 'both.pem'), `${readFileSync(certFile)}${readFileSync(keyFile)}`)
  /** A shipped configuration, for these proxies, files and this port. */
  const adapted = (file: string, port: number) =>
    readFileSync(deploy(file), 'utf8')
      .replaceAll('proxy-1:3001', `127.0.0.1:${one.port}`)
      .replaceAll('proxy-2:3001', `127.0.0.1:${other.port}`)
      .replaceAll('/etc/ssl/tunnel/fullchain.pem', certFile)
      .replaceAll('/etc/ssl/tunnel/privkey.pem', keyFile)
      .replaceAll('/etc/ssl/tunnel/both.pem', join(folder, 'both.pem'))
      .replaceAll('listen 443', `listen 127.0.0.1:${port}`)
      .replaceAll('bind :443', `bind 127.0.0.1:${port}`)
  const ssh = async (port: number): Promise<string> => {
    const env = {
      ...process.env,
      TUNNEL_URL: `https://localhost:${port}`,
      TUNNEL_TOKEN: one.tokenOf('alice'),
      TUNNEL_STATE_DIR: folder,
    }
    const stdio = [process.execPath, TUNNEL_CLI, 'stdio', '--ca', certFile, 'home']
    return await mustRun(
      'ssh',
      [...sshOptions(sshd, { proxyCommand: shellLine(stdio) }), 'home', 'echo', 'here'],
      {
        env,
      },
    )
  }
  return { folder, adapted, ssh, other }
}

test('ssh goes through nginx as it is shipped, also when one of the two proxies is gone', {
  skip: requireSystem('nginx', 'sshd', 'ssh', 'openssl'),
}, async (t) => {
  const { folder, adapted, ssh, other } = await startTwo(t)
  const port = await freePort()
  const file = join(folder, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  )
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  await writeFile(
    file,
    `${user} daemon off; worker_processes 1; pid ${join(folder, 'pid')}; error_log stderr notice; events {}
    http { access_log off; ${temporary.join(' ')}\n${adapted('nginx/tunnel.conf', port)} }`,
  )
  const nginx = findProgram('nginx') ?? 'nginx'
  const args = ['-c', file, '-p', folder, '-e', 'stderr']
  await mustRun(nginx, ['-t', ...args])
  await spawnProgram(t, nginx, args).line('start worker process')
  assert.equal(await ssh(port), 'here\n')
  await other.close()
  assert.equal(await ssh(port), 'here\n')
})

test('ssh goes through HAProxy as it is shipped, also when one of the two proxies is gone', {
  skip: requireSystem('haproxy', 'sshd', 'ssh', 'openssl'),
}, async (t) => {
  const { folder, adapted, ssh, other } = await startTwo(t)
  const port = await freePort()
  const file = join(folder, 'haproxy.cfg')
  await writeFile(file, adapted('haproxy/haproxy.cfg', port))
  const haproxy = findProgram('haproxy') ?? 'haproxy'
  await mustRun(haproxy, ['-c', '-f', file])
  spawnProgram(t, haproxy, ['-f', file])
  const answers = async () => {
    try {
      await ssh(port)
      return true
    } catch {
      return false
    }
  }
  await until(answers)
  await other.close()
  assert.equal(await ssh(port), 'here\n')
})
