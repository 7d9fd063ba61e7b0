terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {
  region = var.region
}

variable "name" {
  type        = string
  description = "Of the bucket, and of the user who may use it."
}

variable "region" {
  type        = string
  default     = null
  description = "Where the bucket stands; the program's own environment decides if nothing is said."
}

variable "versioning" {
  type    = bool
  default = false
}

variable "kms_key_arn" {
  type        = string
  default     = null
  description = "Encrypts what is stored; S3's own key if nothing is said."
}

variable "force_destroy" {
  type        = bool
  default     = false
  description = "A bucket that is taken away takes what is in it with it."
}

variable "tags" {
  type    = map(string)
  default = {}
}

resource "aws_s3_bucket" "this" {
  bucket        = var.name
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Always there: a setting that is turned off is changed, and nothing is destroyed for it.
resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = var.versioning ? "Enabled" : "Suspended"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_iam_user" "this" {
  name = var.name
  tags = var.tags
}

resource "aws_iam_user_policy" "this" {
  user = aws_iam_user.this.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([{
      Effect   = "Allow"
      Action   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
      }], var.kms_key_arn == null ? [] : [{
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = [var.kms_key_arn]
    }])
  })
}

resource "aws_iam_access_key" "this" {
  user = aws_iam_user.this.name
}

output "bucket" {
  value = aws_s3_bucket.this.id
}

output "region" {
  value = aws_s3_bucket.this.region
}

output "endpoint" {
  value = "https://s3.${aws_s3_bucket.this.region}.amazonaws.com"
}

output "access_key_id" {
  value     = aws_iam_access_key.this.id
  sensitive = true
}

output "secret_key" {
  value     = aws_iam_access_key.this.secret
  sensitive = true
}
