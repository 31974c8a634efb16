import { createSocket } from 'node:dgram'
import { accessSync, constants, existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'

const FOLDERS = [...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'])].filter(
  Boolean,
)

/** Where a system program is; a user's PATH often lacks the sbin folders. */
export function findProgram(name: string): string | undefined {
  return FOLDERS.map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Why a test that needs these programs is skipped, or undefined: `test(name, { skip: requireSystem('sshd') }, …)`. */
export function requireSystem(...names: string[]): string | undefined {
  const missing = names.filter((name) => findProgram(name) === undefined)
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`
}

/** Where Node 24 is: `TUNNEL_NODE24`, or what `npm install --prefix /tmp/node24 node@24` has left. */
export const node24 = [process.env.TUNNEL_NODE24, '/tmp/node24/node_modules/node/bin/node'].find(
  (path) => path !== undefined && existsSync(path),
)
export const noNode24 = node24 === undefined && 'no Node 24: TUNNEL_NODE24 may say where it is'

function canListen(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** Whether this process may give the port away: the same one of UDP, which nobody uses here, says so to all others. */
function isMine(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const mark = createSocket('udp4').once('error', () => mark.close(() => resolve(false)))
    mark.bind({ port, address: '127.0.0.1', exclusive: true }, () => {
      mark.unref()
      resolve(true)
    })
  })
}

/**
 * A port that is free now, for programs that cannot take port 0. No test is given it again while this process lives: what
 * takes its time to start, or is started again, still finds it free.
 * Below 32768: above it the kernel hands ports to outgoing connections.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if ((await isMine(port)) && (await canListen(port, host))) return port
  }
  throw new Error('no free port between 20000 and 32000')
}
