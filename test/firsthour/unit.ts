import type { Program } from '../support/process.ts'
import type { Host } from './host.ts'

/** Runs a service as its unit says: this scene has no systemd. Its account and restrictions are systemd's own matter. */
export async function startUnit(host: Host, unitName: string): Promise<Program> {
  const path = `/etc/systemd/system/${unitName}`
  const unit = await host.must('root', `cat ${path} $(ls ${path}.d/*.conf 2>&-)`)
  const values = (key: string) =>
    [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value = '']) => value)
  const credentials = `/run/credentials/${unitName}`
  const copies = values('LoadCredential').map((value) => {
    const [name, file] = value.split(':')
    return `install -m 400 ${file} ${credentials}/${name}`
  })
  const folders = values('StateDirectory').map((name) => `install -d -m 700 /var/lib/${name}`)
  await host.must('root', [`mkdir -p ${credentials}`, ...copies, ...folders].join(' && '))
  const environment = values('Environment').map((value) => `export ${value}`)
  const lines = [
    `export CREDENTIALS_DIRECTORY=${credentials}`,
    ...environment,
    `exec ${values('ExecStart')[0]}`,
  ]
  return host.start('root', lines.join('\n'))
}
