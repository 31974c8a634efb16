import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NetworkNamespace } from '../chaos/netns.ts'
import { makeCertificate } from '../support/certificate.ts'
import { mustRun, type Program } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'
import { AUTHORITY, Host, type User } from './host.ts'

/** The name of the proxy in README.md and in docs. */
export const PROXY_NAME = 'tunnel.example.com'
/** Where everybody reaches them (RFC 5737). */
const PUBLIC = { proxy: '203.0.113.1', cloud: '203.0.113.2' } as const
const HOSTS = [`${PUBLIC.proxy} ${PROXY_NAME}`, `${PUBLIC.cloud} cloud bastion`]
export const HOST_NAMES = ['laptop', 'proxy', 'machine', 'cloud'] as const
export type HostName = (typeof HOST_NAMES)[number]

/** Other names of hosts in the documents. */
const ALIASES: Readonly<Record<string, HostName>> = { bastion: 'cloud' }

/** The host that a document means. */
export function hostNamed(place: string): HostName {
  const name = ALIASES[place] ?? HOST_NAMES.find((each) => each === place)
  if (name === undefined) throw new Error(`there is no host "${place}"`)
  return name
}

/** The hosts, apart from each other: laptop, machine and cloud reach the proxy, and nobody reaches the machine. */
export interface Scene {
  hosts: Record<HostName, Host>
  /** An sshd on a host, as Debian sets one up; alice logs in there with the key that she has on the laptop. */
  startSshd(name: HostName): Promise<Program>
}

export async function setScene(scope: Scope, packageFolder: string): Promise<Scene> {
  const certificate = await makeCertificate(scope, PROXY_NAME)
  if (certificate === undefined) throw new Error('openssl is not installed')
  const folder = await tempFolder(scope, 'firsthour')
  const networks = await layCables(scope)
  const [chain, key] = await Promise.all(
    [certificate.certFile, certificate.keyFile].map((file) => readFile(file, 'utf8')),
  )
  const started = await Promise.all(
    HOST_NAMES.map(async (name) => {
      const stage = join(folder, name)
      const host = await Host.start(scope, {
        name,
        network: networks[name],
        stage,
        packageFolder,
        hosts: HOSTS,
      })
      await host.write('root', AUTHORITY, chain!)
      return [name, host] as const
    }),
  )
  const hosts = Object.fromEntries(started) as Record<HostName, Host>
  await hosts.proxy.write('root', '/etc/ssl/tunnel/fullchain.pem', chain!)
  await hosts.proxy.write('root', '/etc/ssl/tunnel/privkey.pem', key!, '600')
  const publicKey = await newKey(hosts.laptop, 'alice')
  return {
    hosts,
    startSshd: (name) => startSshd(hosts[name], publicKey),
  }
}

async function newKey(host: Host, user: User): Promise<string> {
  return host.must(user, "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519 && cat ~/.ssh/id_ed25519.pub")
}

/** A star: each host has a cable to a router, which forwards; only what has a public address is known to the others. */
async function layCables(scope: Scope): Promise<Record<HostName, NetworkNamespace>> {
  const router = await bareNetwork(scope)
  const networks: Partial<Record<HostName, NetworkNamespace>> = {}
  for (const [index, name] of HOST_NAMES.entries()) {
    const network = await bareNetwork(scope)
    const [far, near] = [`198.51.100.${4 * index + 1}`, `198.51.100.${4 * index + 2}`]
    await network.joinTo(router, `${near}/30`, `${far}/30`)
    if (name === 'proxy' || name === 'cloud') {
      await network.addAddress(`${PUBLIC[name]}/32`)
      await router.addRoute(`${PUBLIC[name]}/32`, near)
      await network.addRoute('198.51.100.0/24', far)
    }
    await network.addRoute('203.0.113.0/24', far)
    networks[name] = network
  }
  const [ip, args] = router.wrap('sh', ['-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'])
  await mustRun(ip, args)
  return networks as Record<HostName, NetworkNamespace>
}

/** Without the cable to this computer, which is none of the hosts. */
async function bareNetwork(scope: Scope): Promise<NetworkNamespace> {
  const network = await NetworkNamespace.create(scope)
  await network.setCable(false)
  return network
}

async function startSshd(host: Host, publicKey: string): Promise<Program> {
  await host.write('alice', '~/.ssh/authorized_keys', publicKey, '600')
  const config = [
    ...['HostKey /etc/ssh/tunnel_test_host_key', 'PidFile none', 'UsePAM no', 'PasswordAuthentication no'],
    ...['KbdInteractiveAuthentication no', 'X11Forwarding yes', 'MaxStartups 200', 'MaxSessions 200'],
    ...[
      'Subsystem sftp internal-sftp',
      'PrintMotd no',
      `SetEnv PATH=/opt/bin:/usr/bin:/bin:/usr/sbin NODE_EXTRA_CA_CERTS=${AUTHORITY}`,
    ],
  ]
  await host.must('root', "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/tunnel_test_host_key")
  await host.write('root', '/etc/ssh/sshd_config', `${config.join('\n')}\n`)
  const sshd = host.start('root', '/usr/sbin/sshd -D -e')
  await sshd.line(/Server listening on 0\.0\.0\.0 port 22/)
  return sshd
}
