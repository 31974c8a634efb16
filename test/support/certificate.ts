import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { Scope } from './scope.ts'
import { tempFolder } from './tree.ts'

export interface Certificate {
  certFile: string
  keyFile: string
}

/** A certificate for a host that nobody has signed; undefined where there is no openssl to make one with. */
export async function makeCertificate(scope: Scope, host = 'localhost'): Promise<Certificate | undefined> {
  const folder = await tempFolder(scope, 'certificate')
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const name = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`]
  const args = ['req', '-x509', ...curve, '-days', '1', ...name]
  const made = spawnSync('openssl', [...args, '-keyout', keyFile, '-out', certFile])
  return made.status === 0 ? { certFile, keyFile } : undefined
}
