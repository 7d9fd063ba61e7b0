terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "name" {
  type = string
}

resource "aws_s3_bucket" "files" {
  bucket = var.name
}

resource "aws_iam_user" "files" {
  name = var.name
}

resource "aws_iam_user_policy" "files" {
  user = aws_iam_user.files.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = [aws_s3_bucket.files.arn, "${aws_s3_bucket.files.arn}/*"]
    }]
  })
}

resource "aws_iam_access_key" "files" {
  user = aws_iam_user.files.name
}

output "bucket" {
  value = aws_s3_bucket.files.id
}

output "region" {
  value = aws_s3_bucket.files.region
}

output "access_key_id" {
  value     = aws_iam_access_key.files.id
  sensitive = true
}

output "secret_key" {
  value     = aws_iam_access_key.files.secret
  sensitive = true
}
