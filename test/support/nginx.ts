import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Program } from './process.ts'
import type { Scope } from './scope.ts'
import { findProgram, freePort } from './system.ts'
import { tempFolder } from './tree.ts'

/**
 * An nginx with one server, whose block holds `lines` beside its own; answers with its address.
 * @param beside stands beside the server: upstreams
 */
export async function startNginx(
  scope: Scope,
  lines: string,
  beside = '',
): Promise<{ host: string; port: number }> {
  const folder = await tempFolder(scope, 'nginx')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  )
  // Its worker must be able to write there.
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const file = join(folder, 'nginx.conf')
    await writeFile(
      file,
      `${user} daemon off; worker_processes 1; pid ${join(folder, 'pid')}; error_log stderr notice;
      events { worker_connections 256; }
      http { access_log off; ${temporary.join(' ')} ${beside}
        server { listen 127.0.0.1:${port}; ${lines} } }`,
    )
    const nginx = new Program(findProgram('nginx') ?? 'nginx', ['-c', file, '-p', folder, '-e', 'stderr'])
    scope.after(() => nginx.stop())
    try {
      await nginx.line('start worker process')
      return { host: '127.0.0.1', port }
    } catch (error) {
      if (attempt === 3 || !/Address already in use/.test(String(error))) throw error
    }
  }
}
